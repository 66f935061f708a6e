"""The future of a call of `Client`. This module imports the client's calls and errors."""

from typing import Generic, Protocol, TypeVar

from zoolet.client.protocol.calls import DROPPED, ENDED, Call

T = TypeVar("T")


class Waits(Protocol):
    """What waits for the end of calls: the client."""

    def wait(self, call: Call[object], timeout_s: float | None) -> None:
        """Wait until the call has ended, or the time is over."""
        ...

    def cancel(self, call: Call[object]) -> bool:
        """Forget the call; return whether it was not sent."""
        ...


class CallFuture(Generic[T]):
    """The result of a call that may not have ended yet."""

    __slots__ = ("_call", "_client")

    def __init__(self, client: Waits, call: Call[T]) -> None:
        self._client = client
        self._call = call

    def done(self) -> bool:
        """Return whether the call has ended or was cancelled."""
        return self._call.phase >= ENDED

    def result(self, timeout_s: float | None = None) -> T:
        """Wait for the result and return it.

        Args:
            timeout_s: the longest wait in seconds; None is the time limit of the call.

        Raises:
            TimeoutError: the call has not ended in time; it goes on.
            concurrent.futures.CancelledError: the call was cancelled.
            ZooKeeperError: the call failed.
        """
        call = self._call
        if call.phase != DROPPED:
            self._client.wait(call, timeout_s)  # type: ignore[arg-type]
        if call.phase == DROPPED:
            from concurrent.futures import CancelledError  # noqa: PLC0415 -- slow import

            raise CancelledError
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[return-value]

    def cancel(self) -> bool:
        """Forget the call; return whether it was not sent, and so is certainly not applied."""
        return self._client.cancel(self._call)  # type: ignore[arg-type]
