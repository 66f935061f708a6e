"""`CallFuture`, on a client that ends calls when the test says so."""

from concurrent.futures import CancelledError

import pytest

from zoolet.client.errors import NoNodeError
from zoolet.client.protocol.calls import DROPPED, ENDED, SENT, WAITS, Call
from zoolet.client.thread_client.futures import CallFuture


class Stub:
    """Ends a call with what the test wants."""

    def __init__(self, *, error: NoNodeError | None = None, ends: bool = True) -> None:
        self._error = error
        self._ends = ends
        self.waits: list[float | None] = []

    def wait(self, call: Call[object], timeout_s: float | None) -> None:
        self.waits.append(timeout_s)
        if not self._ends:
            raise TimeoutError
        if call.phase < ENDED:
            call.phase = ENDED
            call.result, call.error = "the result", self._error

    def cancel(self, call: Call[object]) -> bool:
        was_waiting = call.phase == WAITS
        if call.phase != ENDED:
            call.phase = DROPPED
        return was_waiting


def called(phase: int = SENT) -> Call[str]:
    call: Call[str] = Call(4, 1, "/a", b"")
    call.phase = phase
    return call


def test_a_result_is_given_again() -> None:
    stub = Stub()
    future = CallFuture(stub, called())
    assert not future.done()
    assert future.result(3.0) == "the result"
    assert future.done()
    assert future.result() == "the result"
    assert stub.waits == [3.0, None]


def test_an_error_is_raised_again() -> None:
    error = NoNodeError("get", "/a")
    future = CallFuture(Stub(error=error), called())
    for _ in range(2):
        with pytest.raises(NoNodeError) as caught:
            future.result()
        assert caught.value is error


def test_a_wait_may_end_before_the_call() -> None:
    future = CallFuture(Stub(ends=False), called())
    with pytest.raises(TimeoutError):
        future.result(0.0)
    assert not future.done()


@pytest.mark.parametrize(("phase", "is_unsent"), [(WAITS, True), (SENT, False)])
def test_a_cancelled_call_has_no_result(phase: int, is_unsent: bool) -> None:
    stub = Stub()
    future = CallFuture(stub, called(phase))
    assert future.cancel() is is_unsent
    assert future.done()
    for timeout_s in (None, 1.0):
        with pytest.raises(CancelledError):
            future.result(timeout_s)
    assert not stub.waits


def test_a_call_that_has_ended_is_not_cancelled() -> None:
    future = CallFuture(Stub(), called())
    future.result()
    assert not future.cancel()
    assert future.result() == "the result"
