"""The watch of a znode or of a subtree as an iterator of events.

Made by `release.client_methods` from `asyncio_client/watching.py`: change that module.
"""

from types import TracebackType
from typing import Final, Self

from zoolet.client.thread_client.engine import Engine
from zoolet.client.thread_client.mailbox import Closed, Mailbox
from zoolet.client.errors import AuthFailedError, SessionExpiredError
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.states import SessionState
from zoolet.client.protocol.watches import Resynced, Watcher
from zoolet.model.codes import AddWatchMode
from zoolet.model.results import Event

MAX_EVENTS: Final = 10_000
"""The most events that wait for the program; above it, one Resynced replaces them."""


class Watch:
    """A persistent watch: an iterator of `Event` and `Resynced`, which a client's ``watch`` makes.

    Events come in the order of ZooKeeper, and before any reply that shows their change. `Resynced`
    says that changes may be missing, because the connection was lost: read the data again. The
    iteration ends when the watch is stopped or the client is closed. Use the watch as a context
    manager, or call `stop`, so that the server forgets it too.
    """

    def __init__(
        self, engine: Engine, make: RequestMaker, path: str, mode: AddWatchMode, max_events: int
    ) -> None:
        """Make a watch that is not set yet; a program calls ``client.watch`` instead."""
        self._engine = engine
        self._make = make
        self._path = path
        self._mode = mode
        self._mailbox: Mailbox[Event | Resynced] = Mailbox(max_events, Resynced(path))
        self._watcher: Watcher | None = None
        self._is_stopped = False
        self._note_state = _note_states(self._mailbox, engine)

    def start(self, *, timeout_s: float | None = None) -> None:
        """Set the watch at the server; the first use of the iterator does it too."""
        if self._watcher is not None or self._is_stopped:
            return
        call = self._make.add_watch(self._path, self._mode, self._mailbox.put)
        if call.watcher is not None:
            call.watcher.is_quick = True
        # Listen before: the session may end as soon as the reply is there.
        self._engine.listeners.append(self._note_state)
        try:
            self._engine.run(call, timeout_s)
        except BaseException:
            self._engine.listeners.remove(self._note_state)
            if call.watcher is not None:  # the watch may be set already
                self._engine.abandon(call.watcher)
            raise
        self._watcher = call.watcher

    def next(self, *, timeout_s: float | None = None) -> Event | Resynced:
        """Return the next event; wait for it at most for ``timeout_s`` seconds.

        Raises:
            TimeoutError: there is no event in time.
            StopIteration: the watch is stopped, or the client is closed.
            SessionExpiredError: the session has expired, and the client asks for no other one.
        """
        self.start()
        try:
            return self._mailbox.get(timeout_s)
        except Closed:
            raise StopIteration from None

    def take_waiting(self) -> list[Event | Resynced]:
        """Return the events that have come already, without waiting."""
        return self._mailbox.take_all()

    def stop(self) -> None:
        """Remove the watch; events that wait can still be read.

        The server removes it before it processes a later call of the client. It keeps the watch if
        the client has another watch on this path.
        """
        watcher, self._watcher = self._watcher, None
        self._is_stopped = True
        self._mailbox.close()
        if watcher is None:
            return
        if self._note_state in self._engine.listeners:
            self._engine.listeners.remove(self._note_state)
        self._engine.abandon(watcher)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event | Resynced:
        return self.next()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        if self._watcher is not None:
            self._engine.discard(self._watcher)


def _note_states(mailbox: Mailbox[Event | Resynced], engine: Engine) -> "_StateNote":
    return _StateNote(mailbox, engine)


class _StateNote:
    """Closes a mailbox when the session has ended for good."""

    def __init__(self, mailbox: Mailbox[Event | Resynced], engine: Engine) -> None:
        self._mailbox = mailbox
        self._engine = engine

    def __call__(self, state: SessionState) -> None:
        if state is SessionState.CLOSED:
            self._mailbox.close()
        elif state is SessionState.AUTH_FAILED:
            self._mailbox.close(AuthFailedError("watch"))
        elif state is SessionState.EXPIRED and not self._engine.renews_session:
            self._mailbox.close(SessionExpiredError("watch"))
