"""The file descriptors of this process: their limit, and the number in use.

This module imports no other module of zoolet.
"""

import os
import sys
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import resource

ENOUGH: Final = 1 << 20
"""The highest limit that the server requests if the hard limit is unlimited (macOS)."""

_DIRECTORY: Final = Path("/dev/fd" if sys.platform == "darwin" else "/proc/self/fd")
"""The directory in which the system shows the open descriptors of the process that reads it."""


def limit() -> int | None:
    """Return the limit of open descriptors; None if there is no limit."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Raise the soft limit to the hard limit, or as far as the system permits.

    The hard limit does not change. On macOS it is "unlimited", but the system permits no unlimited
    soft limit, and does not report the highest permitted limit. So this function searches for it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    permitted, refused = soft, (ENOUGH if hard == resource.RLIM_INFINITY else hard) + 1
    wanted = refused - 1
    while permitted < wanted < refused:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            refused = wanted
        else:
            permitted = wanted
        wanted = (permitted + refused) // 2


def open_descriptors() -> int:
    """Return the number of open descriptors; -1 if the system does not report it."""
    try:
        # From Linux 6.2 on, the size of this directory is the number; before, the size is 0.
        size = _DIRECTORY.stat().st_size if sys.platform == "linux" else 0
        return size or sum(1 for _ in os.scandir(_DIRECTORY))
    except OSError:
        return -1
