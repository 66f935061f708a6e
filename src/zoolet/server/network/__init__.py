"""Sockets: listening, accepting, TLS, and closing what does nothing."""
