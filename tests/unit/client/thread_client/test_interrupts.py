"""A Ctrl-C, which can come at any moment while a thread reads."""

import contextlib
import dis
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from tests.support.interpreted import interpreted_only
from tests.support.outcomes import Running
from tests.support.scripted_server import (
    Asked,
    ScriptedServer,
    data_frame,
)
from tests.support.waiting import WAIT_S, wait_until
from tests.unit.client.thread_client.test_engine import begun, end
from zoolet.client import (
    Client,
    ClientOptions,
    ConnectionLossError,
)

TRACED = "/zoolet/client/thread_client/"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


class Interrupt:
    """A trace function that raises KeyboardInterrupt where Python could handle a signal.

    That is after certain instructions: Python does not look for signals between the acquisition of
    a lock and the body of its ``with``, for example.
    """

    _CHECKING = frozenset({"CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD", "RESUME"})

    def __init__(self, place: int) -> None:
        self._left = place
        self._last: tuple[FrameType, str] | None = None

    @property
    def is_raised(self) -> bool:
        return self._left <= 0

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if TRACED not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            last, name = self._last, dis.opname[frame.f_code.co_code[frame.f_lasti]]
            self._last = frame, name
            if last is not None and last[0] is frame and last[1] in self._CHECKING:
                self._left -= 1
                if not self._left:
                    raise KeyboardInterrupt
        return self


@interpreted_only
def test_an_interrupt_anywhere_in_a_call_leaves_a_client_that_works() -> None:
    with ScriptedServer() as server:
        server.serve_all()
        client = Client(server.hosts, ClientOptions(connect_timeout_s=WAIT_S))
        client.start()
        raised_count = 0
        for place in range(1, 80):
            interrupt = Interrupt(place)
            sys.settrace(interrupt)
            try:
                client.get("/a")
            except (KeyboardInterrupt, ConnectionLossError):
                pass
            finally:
                sys.settrace(None)
            raised_count += interrupt.is_raised
            # The call of another thread ends too: no thread is left as the one that reads.
            other = Running(client.get, "/b")
            with contextlib.suppress(ConnectionLossError):
                other.end()
        assert raised_count > 10, "the trace function saw few instructions"
        client.close()


def test_a_signal_interrupts_the_thread_that_reads(server: ScriptedServer) -> None:
    client, connection = begun(server)
    following: list[Running] = []
    asked: list[Asked] = []

    def interrupt() -> None:
        asked.append(connection.request())
        following.append(Running(client.get, "/b"))
        asked.append(connection.request())
        wait_until(lambda: bool(client._engine.followers.waiters), "a thread waits")
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = Running(interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.get("/a")
    interrupting.end()
    with contextlib.suppress(OSError):  # the interrupt may have ended the connection
        connection.send(data_frame(asked[0].xid), data_frame(asked[1].xid, b"b"))
    error = following[0].wait()
    assert error is None or isinstance(error, ConnectionLossError)
    if error is not None:
        connection = server.granted()
    end(client, connection)
