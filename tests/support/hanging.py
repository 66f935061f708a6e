"""End a test process in which a test hangs longer than its timeout.

pytest-timeout raises an exception in the main thread, once. That does not end every test: uvloop
logs an exception that is raised while the loop is idle and goes on, and a teardown that hangs after
the exception has no timeout. Then the whole test run hangs. A thread of faulthandler cannot be
stopped like that: it writes the traceback of each thread and ends the process. pytest-xdist reports
the test as a failed one and starts another process for the remaining tests.
"""

import faulthandler
import os
from collections.abc import Generator
from typing import Any

import pytest

AFTER_TIMEOUT_S = 60.0

_real_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr: while a test runs, pytest collects what is written to descriptor 2."""
    config.stash[_real_stderr] = os.dup(2)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what ``pytest_configure`` opened."""
    os.close(config.stash[_real_stderr])


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """End the process ``AFTER_TIMEOUT_S`` after the test's own timeout."""
    _end_after(item, settings.timeout + AFTER_TIMEOUT_S)


def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Give the teardown of a failed test ``AFTER_TIMEOUT_S``: pytest cancelled the first timer."""
    if isinstance(node, pytest.Item):
        _end_after(node, AFTER_TIMEOUT_S)


def _end_after(item: pytest.Item, delay_s: float) -> None:
    stderr = item.config.stash[_real_stderr]
    faulthandler.dump_traceback_later(delay_s, exit=True, file=stderr)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Leave the process alone when the test has ended, its teardown included."""
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_enter_pdb() -> None:
    """Leave the process alone: somebody looks at the test in the debugger."""
    faulthandler.cancel_dump_traceback_later()
