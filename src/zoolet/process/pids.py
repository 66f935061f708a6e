"""The ids of processes. This module imports no other module of zoolet."""

import os


def is_alive(pid: int) -> bool:
    """Return whether a process with the id ``pid`` runs on this machine or in this container."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
