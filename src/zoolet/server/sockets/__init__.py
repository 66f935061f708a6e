"""Sockets: listening, accepting connections, TLS, and closing idle connections."""
