"""For users: submit jobs, follow them, read their results."""
