"""Where mail, accounts and events are kept.  SQL lives here and nowhere else."""
