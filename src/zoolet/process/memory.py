"""Returns freed memory to the operating system.

CPython and the C library keep freed memory for later use. After a burst of requests (a million
watches, a session with a million ephemerals) the process would stay many times larger than its
data.
"""

import contextlib
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

LOOK_INTERVAL_MS = 1000
"""The interval at which `FreedMemory.look` and `FreedBuffers.look` must be called."""

_LEAST_FREED_BLOCKS = 100_000
_LEAST_FREED_SHARE = 4
_FEW_BLOCKS = 10_000
_MOST_LOOKS_TO_WAIT = 5
_LEAST_GROWTH_BYTES = 8 << 20
_LONGEST_PAUSE_LOOKS = 32

# From malloc.h of glibc; another C library has no mallopt, or ignores these options.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 512 << 10


def give_back() -> None:
    """Collect garbage, and return freed memory to the system as far as possible."""
    gc.collect()
    trim()


def trim_after_start() -> None:
    """Return to the system what the start has freed, for example the files of imported modules.

    Unlike `trim`, this loads no other module and changes no threshold. Pure Python does nothing.
    """
    with contextlib.suppress(ImportError):
        from zoolet.process import heap  # noqa: PLC0415 -- compiled only

        heap.trim()


def trim() -> None:
    """Return the free pages of the C library to the system, and let it keep fewer in future.

    glibc raises its threshold for keeping freed memory to the size of the largest freed block, up
    to 32 MiB. After a few long replies, the process would keep hundreds of MiB of free memory.
    """
    # ImportError: a Python without libffi. OSError, AttributeError: another C library.
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes  # noqa: PLC0415 -- not needed in a server that stays small

        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        library.malloc_trim(0)


def resident_bytes(pid: int | None = None) -> int:
    """Return the resident memory of a process, by default of this one; 0 if it is not known."""
    try:
        statm = Path(f"/proc/{'self' if pid is None else pid}/statm").read_bytes()
    except OSError:
        return 0
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


class FreedMemory:
    """Detects that many objects were freed, and then returns their memory to the system.

    CPython keeps up to 2,000 freed tuples of each length. After a burst, these tuples are spread
    over the heap, and each tuple prevents the return of one MiB of freed memory. Only a full
    garbage collection frees these tuples. It takes long, because it visits every long list. So it
    runs only if at least a quarter of all objects were freed since the last collection. While many
    more objects are being freed, the collection is delayed for a few looks.

    Args:
        give_back: returns freed memory to the system.
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
        """Return memory to the system if many objects were freed since the last time."""
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
    """Returns the pages of freed buffers to the system, after the process has grown.

    59 clients that send 144 KB each leave 18 MB of free pages between small blocks: too few objects
    for `FreedMemory`. The server does not know when such buffers are freed. So after a growth of
    8 MB, it trims the memory after 1 look, 2, 4 and so on up to 32, and then not before the next
    growth.

    Args:
        trim: returns freed pages to the system.
        resident_bytes: returns the resident memory of the process, in bytes.
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
        """Trim the memory if this is due after a growth of the process."""
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
