"""This process in its operating system: memory, descriptors, user, garbage collector."""
