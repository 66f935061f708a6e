"""Faults of an embedded server: of its disk and its connections."""
