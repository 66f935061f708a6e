"""The settings of a process while it makes many objects that stay for ever."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from zoolet.process import processors

try:
    from zoolet.process import arenas
except ImportError:  # it is only in the compiled build for Linux
    arenas = None  # type: ignore[assignment]


@contextmanager
def loading() -> Iterator[None]:
    """Make objects in this context that are never garbage.

    They are excluded from garbage collection, for ever: each search for garbage in them would take
    as long as making them. A further thread makes memory ready for them, if there is a processor
    for it: see docs/decisions/0125-memory-made-ready.md.
    """
    ready = arenas if processors.count() > 1 else None
    gc.disable()
    if ready is not None:
        ready.begin()
    try:
        yield
    finally:
        if ready is not None:
            ready.end()
        gc.enable()
    gc.freeze()
