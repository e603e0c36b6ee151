"""Numbered migrations, each a file of SQL: ``0001.sql`` first.  A file that was released is never changed."""
