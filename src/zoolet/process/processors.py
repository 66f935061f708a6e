"""The processors of this process.

This module imports nothing of zoolet.
"""

import os


def count() -> int:
    """Return how many processors this process may use at the same time."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
