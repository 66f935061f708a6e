"""The simulated clock and disk of an embedded server."""
