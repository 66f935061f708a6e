"""What operators see of a queue."""
