"""Event loops that a server can run on, and sockets that behave badly."""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.support.waiting import WAIT_S

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:  # the tests without compiled modules hide it
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop

RunOnLoop = Callable[[Coroutine[Any, Any, None]], None]


def runner(name: str) -> RunOnLoop:
    """Return what runs a coroutine on the event loop of that name."""

    def run(scenario: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[name]) as running:
            running.run(asyncio.wait_for(scenario, WAIT_S))

    return run


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something holds; the test's own timeout ends it if it never does."""
    while not condition():
        await asyncio.sleep(0.001)


def reset(sock: socket.socket) -> None:
    """Close a socket with a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def count_descriptors(pid: int | str = "self") -> int:
    """Return how many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
