"""Limits of a queue: how many attempts of its jobs run at a time, or start per second."""
