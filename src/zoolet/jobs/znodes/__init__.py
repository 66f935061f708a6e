"""The znodes of a queue: their paths, and functions that read them."""
