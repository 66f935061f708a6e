"""Frames and requests, as testing looks at them."""
