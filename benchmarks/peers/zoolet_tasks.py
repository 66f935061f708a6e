"""The tasks for zoolet."""

import plain_tasks


def noop(_: None, parameters: dict[str, int]) -> int:
    """Return the number."""
    return plain_tasks.noop(parameters["n"])


def slow(_: None, parameters: dict[str, int]) -> int:
    """Take 50 ms, and return the number."""
    return plain_tasks.slow(parameters["n"])
