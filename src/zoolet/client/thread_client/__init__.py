"""The client for threads, without an event loop."""
