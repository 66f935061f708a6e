"""When a call is repeated: the rule, the number of attempts, and the pauses between them.

Invariant: a write that may have been applied is repeated only if `Retry.repeats_writes` allows it.
This module does no I/O and does not wait. Imports ``model``, and the client's errors, protocol
and back-off.
"""

from dataclasses import dataclass
from typing import Final

from zoolet.client.connecting.backoff import Backoff
from zoolet.client.errors import (
    ConnectionLossError,
    NotReadOnlyError,
    RequestTimeoutError,
    SessionExpiredError,
    ThrottledError,
    ZooKeeperError,
)
from zoolet.client.protocol.calls import Call
from zoolet.model.codes import OpCode

_WRITES: Final = frozenset(
    {
        OpCode.CREATE.value,
        OpCode.CREATE2.value,
        OpCode.CREATE_CONTAINER.value,
        OpCode.CREATE_TTL.value,
        OpCode.DELETE.value,
        OpCode.SET_DATA.value,
        OpCode.SET_ACL.value,
        OpCode.MULTI.value,
        OpCode.RECONFIG.value,
    }
)

_NOT_APPLIED: Final = (NotReadOnlyError, ThrottledError)
"""With these errors, the server has not applied the request, and may apply it later."""

_UNCERTAIN: Final = (ConnectionLossError, RequestTimeoutError)
"""With these errors, the server may have applied the request."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call is repeated, and which calls.

    A read is repeated after `ConnectionLossError` and `RequestTimeoutError`. Each call is repeated
    after `NotReadOnlyError`, `ThrottledError` and, if the client asks for another session,
    `SessionExpiredError`: the server has not applied it. No other error leads to another attempt.

    Attributes:
        attempts: the largest number of attempts, at least 1; None for no other limit than the time
            limit of the call, which is for all attempts together.
        first_pause_s: the longest pause before the second attempt, in seconds. It doubles with each
            attempt. Each pause has a random length between its half and this limit.
        longest_pause_s: the limit of all pauses.
        repeats_writes: whether a write is also repeated if it may have been applied. Then it can be
            applied twice, and the second attempt can fail because of the first one, for example
            with NodeExistsError or BadVersionError.
    """

    attempts: int | None = 5
    first_pause_s: float = 0.05
    longest_pause_s: float = 5.0
    repeats_writes: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is too small.
        """
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts}")
        if self.first_pause_s < 0 or self.longest_pause_s < 0:
            raise ValueError("a pause must not be negative")


class Attempts:
    """The attempts of one call.

    Attributes:
        call: the call of the present attempt; it must not have been sent yet.
    """

    def __init__(self, retry: Retry, call: Call[object], *, renews_session: bool) -> None:
        """Begin with a call that is not sent yet."""
        self.call = call
        self._frame = call.frame
        self._retry = retry
        self._renews_session = renews_session
        self._count = 1
        self._backoff = Backoff(retry.first_pause_s, retry.longest_pause_s)

    def next(self, error: ZooKeeperError, left_s: float) -> float | None:
        """Prepare the next attempt after an error; return the pause before it.

        None says that there is none: the error is final, or the ``left_s`` seconds of the call are
        not enough.
        """
        is_last = self._retry.attempts is not None and self._count >= self._retry.attempts
        if is_last or not self._may_repeat(error):
            return None
        pause_s = self._backoff.next_s()
        if pause_s >= left_s:
            return None
        self._count += 1
        self.call = self._again()
        return pause_s

    def _may_repeat(self, error: ZooKeeperError) -> bool:
        if isinstance(error, SessionExpiredError):
            return self._renews_session
        if isinstance(error, _UNCERTAIN):
            return self._retry.repeats_writes or self.call.op_code not in _WRITES
        return isinstance(error, _NOT_APPLIED)

    def _again(self) -> Call[object]:
        """Return a call with the same request and the same watcher."""
        last = self.call
        again: Call[object] = Call(last.op_code, last.xid, last.path, self._frame, last.watcher)
        again.removes = last.removes
        again.parts = last.parts
        return again
