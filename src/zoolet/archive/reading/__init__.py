"""Reads the states and the txns of an archive or a data directory."""
