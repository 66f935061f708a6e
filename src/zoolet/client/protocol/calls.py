"""A call: one request of a program, until it has its result or its error.

This module contains only the state of calls. `requests.py` makes them, `session.py` ends them. It
imports the client's errors.
"""

from typing import Final, Generic, TypeVar, final

from zoolet.client.errors import ZooKeeperError  # noqa: TC001 -- mypyc needs it
from zoolet.client.protocol.watches import Watcher
from zoolet.wire.lists_ahead import ListsAhead  # noqa: TC001 -- mypyc needs it

T = TypeVar("T")

WAITS: Final = 0
"""The call is not sent yet."""
SENT: Final = 1
"""The call is sent, or is with the bytes to send."""
ENDED: Final = 2
"""The call has its result or its error. Its reply, if it still comes, is ignored."""
DROPPED: Final = 3
"""The program does not wait for the call any more; the session ignores its reply."""


@final
class Call(Generic[T]):
    """A request and its result.

    Attributes:
        op_code: the op code of the request.
        xid: the xid of the request.
        path: the path that the program gave, for errors; "" if the request has none.
        frame: the bytes of the request; b"" after they are sent.
        size_bytes: the length of the frame.
        watcher: the watcher that a successful reply adds to the watches; None if there is none.
        removes: the path and the ``WatcherType`` of the watches that a successful reply removes;
            None if it removes none.
        parts: for multi and multiRead, the op code and the path of each operation.
        lists: what was read of the reply before it was complete; None if nothing was.
        phase: WAITS, SENT, ENDED or DROPPED.
        result: the result, after the call has ended without an error.
        error: the error; None if there is none.
        waiter: what the layer above uses to wait for the call; the session does not use it.
        deadline_s: the time at which the layer above ends the call; 0.0 for no deadline.
    """

    __slots__ = (
        "op_code",
        "xid",
        "path",
        "frame",
        "size_bytes",
        "watcher",
        "removes",
        "parts",
        "lists",
        "phase",
        "result",
        "error",
        "waiter",
        "deadline_s",
    )

    def __init__(
        self,
        op_code: int,
        xid: int,
        path: str,
        frame: bytes,
        watcher: Watcher | None = None,
    ) -> None:
        self.op_code = op_code
        self.xid = xid
        self.path = path
        self.frame = frame
        self.size_bytes = len(frame)
        self.watcher = watcher
        self.removes: tuple[str, int] | None = None
        self.parts: list[tuple[int, str]] | None = None
        self.lists: ListsAhead | None = None
        self.phase = WAITS
        self.result: T | None = None
        self.error: ZooKeeperError | None = None
        self.waiter: object = None
        self.deadline_s = 0.0
