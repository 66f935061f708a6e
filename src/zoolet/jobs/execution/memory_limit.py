"""The memory limit of an attempt: the memory of all processes of an executor is measured.

A limit that the kernel enforces (RLIMIT_AS, RLIMIT_DATA) counts address space, which many libraries
reserve and do not use, and it does not count the processes that a task starts. So the worker
measures the resident memory every `LOOK_S` while an attempt runs. An attempt can exceed its limit
for this time (docs/decisions/0092).

This module reads /proc of Linux. It imports `zoolet.process`.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from zoolet.process.memory import resident_bytes

LOOK_S = 0.1
"""The time between two measurements, in seconds."""
MIB = 1024 * 1024
_OOM_SCORE = 500
"""The value of oom_score_adj of an executor's process, from -1000 to 1000."""


def bytes_of(mib: int | None) -> int | None:
    """Return a number of MiB as bytes; None for None."""
    return None if mib is None else mib * MIB


class MemoryLimit:
    """Measures the processes of an executor, and compares their memory with the limit.

    Args:
        limit_bytes: the limit of all processes together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._next_at = 0.0

    def excess(self, watcher: int, now: float) -> str | None:
        """Return the reason to end the attempt; None if the limit is not exceeded.

        Between two measurements, the method returns None without a measurement.

        Args:
            watcher: the pid of the watcher, whose descendants are the processes of the executor.
            now: the time of the monotonic clock, in seconds.
        """
        if now < self._next_at:
            return None
        self._next_at = now + LOOK_S
        pids = list(descendants(watcher))
        used_bytes = sum(map(resident_bytes, pids))
        if used_bytes > self._limit_bytes and len(pids) > 1:
            # Forked processes share pages, which the sum of the resident memory counts repeatedly.
            used_bytes = sum(map(_proportional_bytes, pids))
        if used_bytes <= self._limit_bytes:
            return None
        return (
            f"its processes used {used_bytes // MIB} MiB of memory, more than the limit of"
            f" {self._limit_bytes // MIB} MiB for an attempt: they were ended. Use less memory, or"
            " raise --attempt-memory-mib"
        )


def descendants(pid: int) -> Iterator[int]:
    """Yield the pids of the children of a process, of their children, and so on."""
    waiting = [pid]
    while waiting:
        # OSError: the process has ended.
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{waiting.pop()}/task").iterdir():
                with contextlib.suppress(OSError):
                    children = [int(one) for one in (thread / "children").read_bytes().split()]
                    yield from children
                    waiting += children


def _proportional_bytes(pid: int) -> int:
    """Return the memory of a process; a page of n processes counts as 1/n page."""
    # OSError: the process has ended, or its memory may not be read.
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return resident_bytes(pid)


def prefer_for_oom_killer() -> None:
    """Let the kernel end this process before its worker if the machine has no memory left."""
    score = Path("/proc/self/oom_score_adj")
    # OSError: the system has no such file, or forbids the change. ValueError: not a number.
    with contextlib.suppress(OSError, ValueError):
        if int(score.read_text()) < _OOM_SCORE:
            score.write_text(str(_OOM_SCORE))


def is_supported() -> bool:
    """Return whether this system has the files that `MemoryLimit` reads."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()
