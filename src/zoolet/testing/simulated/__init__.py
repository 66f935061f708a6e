"""The simulated clock, disk and network of an embedded server."""
