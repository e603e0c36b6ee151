"""The doors in, and the one way from them into the queue."""
