"""The way out: who is due, who carries it, and what became of it."""
