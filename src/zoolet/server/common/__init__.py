"""Modules that all parts of the server use: scheduler, disk threads, clock, logs and counters."""
