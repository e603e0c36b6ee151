"""Who is there, and may they: logins, tokens and people; the keys, secrets and certificates that prove it."""
