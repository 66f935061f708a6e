"""How long this machine ran nothing of the soak test, because others used it.

A process of the lowest priority may not run for seconds. A small process sleeps for a short while
and then works for a short while, again and again, with the priority of the workers. It notices when
it comes late. To sleep alone would not show it: the system lets a process that only sleeps run at
once, and lets a worker that starts and computes wait. What it came late is no fault of theirs.
"""

import subprocess
import sys
import threading
from bisect import bisect_left, bisect_right
from itertools import accumulate

SLEEP_MS = 50
WORK_MS = 5
LATE_MS = 30
"""Below this, being late is what any busy machine does."""
LATENESS_FACTOR = 2
"""A process that lost the processor needs time to take up its work."""

_PROGRAM = f"""
import time
before = time.time_ns() // 10**6
while True:
    time.sleep({SLEEP_MS} / 1000)
    worked = time.process_time() + {WORK_MS} / 1000
    while time.process_time() < worked:
        pass
    now = time.time_ns() // 10**6
    late = now - before - {SLEEP_MS + WORK_MS}
    if late > {LATE_MS}:
        print(now, late, flush=True)
    before = now
"""


class Starvation:
    """Watches, from `start` to `stop`, how long nothing ran."""

    def __init__(self) -> None:
        self.late: list[tuple[int, int]] = []
        """When the process came late, in ms since the epoch, and by how many ms."""

    def start(self) -> None:
        """Begin to watch."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM], stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """Stop watching."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                at_ms, late_ms = line.split()
                self.late.append((int(at_ms), int(late_ms)))

    def total_ms(self) -> int:
        """Return for how many ms nothing ran in all."""
        return sum(late_ms for _, late_ms in list(self.late))

    def frozen(self) -> "Lateness":
        """Return what was found, to be asked many times."""
        return Lateness(list(self.late))


class Lateness:
    """For how many ms nothing ran between two times."""

    def __init__(self, late: list[tuple[int, int]]) -> None:
        late = sorted(late)
        self._ends = [at_ms for at_ms, _ in late]
        self._sums = [0, *accumulate(late_ms for _, late_ms in late)]
        self._longest = max((late_ms for _, late_ms in late), default=0)

    def between(self, begin_ms: int, end_ms: int) -> int:
        """Return the most that it may have been; what overlaps counts as a whole.

        It is 0 if the end is before the begin.
        """
        first = bisect_left(self._ends, begin_ms)
        last = max(first, bisect_right(self._ends, end_ms + self._longest))
        return self._sums[last] - self._sums[first]
