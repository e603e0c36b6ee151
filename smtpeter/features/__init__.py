"""Message features: what is installed, what they are asked, and how their work is done."""
