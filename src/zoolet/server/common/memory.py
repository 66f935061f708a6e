"""Gives memory that was freed back to the operating system.

CPython and the C library keep freed memory for later. After a burst of requests (a million watches,
a session with a million ephemerals) the process would stay many times larger than its data.
"""

import contextlib
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

LOOK_INTERVAL_MS = 1000
"""How often `FreedMemory.look` and `FreedBuffers.look` are to be called."""

_LEAST_FREED_BLOCKS = 100_000
_LEAST_FREED_SHARE = 4
_FEW_BLOCKS = 10_000
_MOST_LOOKS_TO_WAIT = 5
_LEAST_GROWTH_BYTES = 8 << 20
_LONGEST_PAUSE_LOOKS = 32

# Of glibc's malloc.h; another C library has no mallopt, or ignores it.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 512 << 10


def give_back() -> None:
    """Give all freed memory back, as far as that is possible."""
    gc.collect()
    trim()


def trim() -> None:
    """Give back the pages that the C library keeps for later, and let it keep fewer from now on.

    glibc keeps freed blocks up to the size of the largest block that was ever freed, and up to
    32 MiB. A few long replies would then leave hundreds of MiB that the process never gives back.
    """
    import ctypes  # noqa: PLC0415 -- a server that stays small needs it not

    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        library.malloc_trim(0)


def resident_bytes() -> int:
    """Return how much memory this process has; 0 where the system does not say."""
    try:
        statm = Path("/proc/self/statm").read_bytes()
    except OSError:
        return 0
    return int(statm.split()[1]) * resource.getpagesize()


class FreedMemory:
    """Notices that many objects were freed, and then has their memory given back.

    CPython keeps up to 2,000 freed tuples of each length. After a burst they are spread over the
    heap, and each of them keeps one MiB of freed memory from being given back. Only a full garbage
    collection empties these lists. It visits every long list, so it runs only if at least a quarter
    of all objects were freed since the last one. It waits a while if more are being freed.

    Args:
        give_back: gives freed memory back.
        count_blocks: returns the number of blocks of memory that are in use.
    """

    def __init__(
        self,
        give_back: Callable[[], None],
        count_blocks: Callable[[], int] = sys.getallocatedblocks,
    ) -> None:
        self._give_back = give_back
        self._count_blocks = count_blocks
        self._most_blocks = 0
        self._last_blocks = 0
        self._waited = 0

    def look(self) -> None:
        """Have memory given back if many objects were freed since the last time."""
        blocks = self._count_blocks()
        newly_freed, self._last_blocks = self._last_blocks - blocks, blocks
        self._most_blocks = max(self._most_blocks, blocks)
        least = max(_LEAST_FREED_BLOCKS, self._most_blocks // _LEAST_FREED_SHARE)
        if self._most_blocks - blocks < least:
            self._waited = 0
        elif newly_freed > _FEW_BLOCKS and self._waited < _MOST_LOOKS_TO_WAIT:
            self._waited += 1
        else:
            self._give_back()
            self._most_blocks = blocks
            self._waited = 0


class FreedBuffers:
    """Has the pages of freed buffers given back, after the process has grown.

    59 clients that send 144 KB each leave 18 MB of free pages between small blocks: too few objects
    for `FreedMemory`. Nobody knows when such buffers are freed. So after a growth of 8 MB, the
    memory is trimmed after 1 look, 2, 4 and so on up to 32, and then not before the next growth.

    Args:
        trim: gives freed pages back.
        resident_bytes: returns how much memory the process has.
    """

    def __init__(
        self,
        trim: Callable[[], None] = trim,
        resident_bytes: Callable[[], int] = resident_bytes,
    ) -> None:
        self._trim = trim
        self._resident_bytes = resident_bytes
        self._least_bytes = resident_bytes()
        self._pause_looks = 0
        self._looks_left = 0

    def look(self) -> None:
        """Trim the memory if the process has grown, now or a while ago."""
        bytes_now = self._resident_bytes()
        self._least_bytes = min(self._least_bytes, bytes_now)
        if bytes_now - self._least_bytes >= _LEAST_GROWTH_BYTES:
            self._least_bytes = bytes_now
            self._pause_looks = self._looks_left = 1
        elif self._looks_left > 1:
            self._looks_left -= 1
        elif self._looks_left == 1:
            self._trim()
            self._pause_looks *= 2
            self._looks_left = self._pause_looks if self._pause_looks <= _LONGEST_PAUSE_LOOKS else 0
