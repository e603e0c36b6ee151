"""The store on SQLite: one writer, group commit, readers beside it."""
