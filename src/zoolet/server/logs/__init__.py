"""The log of a server, for people."""
