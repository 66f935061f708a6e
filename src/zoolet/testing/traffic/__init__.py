"""The frames, requests and connections between clients and an embedded server."""
