"""What archives and data directories know of the past, for users who may see it."""
