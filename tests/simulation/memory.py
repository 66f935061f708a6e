"""Memory that runs out for a moment: the Nth allocation of the interpreter fails.

The faults happen while the server's code runs, and nowhere else. ``_testcapi`` is CPython's own
module for its tests. Compiled code may end the process if an allocation fails, so there a
simulation lets only readings of the clock fail. ``test_failed_allocations.py`` has a process for
each allocation, and fails the encoding of txns in compiled code too. Here that cannot be done
simply: requests of the simulation hold plain text and bytes, so encoding them calls no Python code
that could fail.
"""

import random
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from zoolet.state_machine import tree

try:
    import _testcapi
except ImportError:
    _testcapi = None

testcapi: Any = _testcapi
"""CPython's module for its own tests; None if the system has no such package."""

IS_COMPILED = not tree.__file__.endswith(".py")

_FAILS_IN = 0.1
_MOST_ALLOCATIONS = 150


class FailingMemory:
    """Fails an allocation, or a reading of the clock, in some of the calls that it surrounds.

    Attributes:
        fails: whether anything fails at all.
        failures: in how many calls something was set to fail.
    """

    def __init__(self, chance: random.Random) -> None:
        self.fails = True
        self.failures = 0
        self._chance = chance
        self._readings_left = -1
        self._report_unraisable: Callable[[Any], object] = sys.unraisablehook

    def __enter__(self) -> None:
        if not self.fails or self._chance.random() >= _FAILS_IN:
            return
        self.failures += 1
        if IS_COMPILED or testcapi is None or self._chance.random() < 0.3:
            self._readings_left = self._chance.randrange(5)
        else:
            number = self._chance.randrange(_MOST_ALLOCATIONS)
            self._report_unraisable = sys.unraisablehook
            sys.unraisablehook = self._but_memory_errors
            testcapi.set_nomemory(number, number + 1)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if testcapi is not None:
            testcapi.remove_mem_hooks()
        if sys.unraisablehook == self._but_memory_errors:
            sys.unraisablehook = self._report_unraisable
        self._readings_left = -1

    def _but_memory_errors(self, unraisable: Any) -> None:
        """Report an exception that nobody can catch, unless it is the failed allocation.

        If the allocation fails while a generator is released, its frame is released all the same.
        """
        if unraisable.exc_type is not MemoryError:
            self._report_unraisable(unraisable)

    def may_fail_now(self) -> None:
        """Raise MemoryError if this reading of the clock is one that fails."""
        if self._readings_left == 0:
            self._readings_left = -1
            raise MemoryError
        self._readings_left -= self._readings_left > 0
