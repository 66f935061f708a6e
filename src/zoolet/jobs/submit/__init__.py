"""Submission: jobs enter a queue, at most one for each piece of work."""
