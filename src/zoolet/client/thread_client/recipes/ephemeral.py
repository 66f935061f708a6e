"""One ephemeral znode of a recipe, from its creation until it is deleted or lost.

Made by `release.client_methods` from `asyncio_client/recipes/ephemeral.py`: change that module.
"""

import uuid
from collections.abc import Callable
from typing import Final

from zoolet.client.thread_client.operations import PROTECTED
from zoolet.client.thread_client.primitives import Deadline, Event, Timer
from zoolet.client.thread_client.recipes.tools import Tools
from zoolet.client.errors import (
    ConnectionLossError,
    DeadlineError,
    LockLostError,
    NodeExistsError,
    NoNodeError,
    ZooKeeperError,
)
from zoolet.client.protocol.states import SessionState
from zoolet.client.protocol.watches import Resynced
from zoolet.model import paths
from zoolet.model.codes import CreateMode, EventType
from zoolet.model.results import Event as WatchEvent

DELETE_S: Final = 5.0
"""How long the end of a recipe waits for the deletion of its znode, which then goes on."""

_NO_LIMIT_TRIES: Final = 1 << 31
_ENDS: Final = {
    SessionState.EXPIRED: "the session has expired",
    SessionState.CLOSED: "the client was closed",
    SessionState.AUTH_FAILED: "the server refused the login",
}


class Ephemeral:
    """An ephemeral znode with a unique name.

    Attributes:
        path: its path; "" until it is created.
        czxid: the zxid of its creation, which is higher for each later znode.
        lost: set when the session has ended, or others have deleted the znode. After `hold`, it is
            also set when no server was connected for the session timeout.
        changed: set together with ``lost``, and when `notify` is called.
        reason: why the znode is lost.
    """

    def __init__(self, tools: Tools, parent: str, name: str, data: bytes, mode: CreateMode) -> None:
        """Prepare the znode below ``parent``.

        A sequential znode is called ``_c_ID-NAME`` and its number; another one is called NAME,
        which must be unique.
        """
        self.tools = tools
        self.parent = parent
        self.path = ""
        self.czxid = 0
        self.lost = Event()
        self.changed = Event()
        self.reason = ""
        self._id = str(uuid.uuid4())
        self._name = name
        self._data = data
        self._mode = mode
        self._may_exist = False
        self._is_held = False
        self._is_silent = False
        self._is_over = False
        self._on_loss: Callable[[], None] | None = None
        self._timer: Timer | None = None

    def create(self, deadline: Deadline) -> None:
        """Create the znode exactly once, and watch it.

        Raises:
            LockLostError: the znode is lost already.
            SessionExpiredError: the session has ended.
            DeadlineError: the time is over.
        """
        self.tools.engine.listeners.append(self._note_state)
        self._may_exist = True
        self.path = self._create(deadline)
        make = self.tools.make
        try:
            # An ephemeral has no children, so the only event of this watch is the deletion.
            listed = self.tools.run(lambda: make.children(self.path, self._note_event), deadline)
        except NoNodeError:
            self._lose("its znode was deleted")
        else:
            self.czxid = listed.stat.czxid
        self.check()

    def check(self) -> None:
        """Raise LockLostError if the znode is lost."""
        if self.lost.is_set():
            raise self.error()

    def error(self) -> LockLostError:
        """Return the error for the loss of this znode."""
        return LockLostError("", self.parent, f"lost: {self.reason}")

    def hold(self, on_loss: Callable[[], None] | None = None) -> None:
        """From now on, lose the znode too when the session may have expired unnoticed.

        ``on_loss`` is called when the znode is lost.

        Raises:
            LockLostError: the znode is lost already.
        """
        self._is_held = True
        if self._is_silent:
            self._lose("no server was connected for the session timeout")
        self.check()
        self._on_loss = on_loss

    def notify(self, _: object = None) -> None:
        """Wake whoever waits for ``changed``."""
        self.changed.set()

    def end(self) -> None:
        """Watch the znode no more."""
        self._is_over = True
        self._on_loss = None
        if self._note_state in self.tools.engine.listeners:
            self.tools.engine.listeners.remove(self._note_state)
        self._stop_timer()

    def abandon(self) -> None:
        """Delete the znode in the background, also if it is not known whether it exists."""
        self.end()
        if self._may_exist:
            is_sequential = self._mode.is_sequential
            prefix = f"{PROTECTED}{self._id}-" if is_sequential else self._name
            self.tools.delete_soon(self.parent, prefix, self.path)

    def delete(self, timeout_s: float | None = DELETE_S) -> None:
        """Delete the znode; wait for it at most for ``timeout_s``, then go on in the background."""
        self.end()
        if self.lost.is_set():
            self.abandon()
            return
        try:
            self.tools.delete(self.path, Deadline(timeout_s, "delete", self.path))
        except DeadlineError:
            self.abandon()
        except ZooKeeperError:
            return  # the session has ended
        except BaseException:
            self.abandon()
            raise

    def _create(self, deadline: Deadline) -> str:
        path = paths.join(self.parent, self._name)
        while True:
            try:
                if self._mode.is_sequential:
                    return self._create_protected(path, deadline)
                with deadline.of_call() as limit_s:
                    self.tools.client.create(path, self._data, mode=self._mode, timeout_s=limit_s)
            except ConnectionLossError:
                continue
            except NodeExistsError:
                return path  # the reply of an earlier try was lost
            except NoNodeError:
                self.tools.ensure_path(self.parent, deadline)
            else:
                return path

    def _create_protected(self, path: str, deadline: Deadline) -> str:
        with deadline.of_call() as limit_s:
            return self.tools.client.create_protected(
                path,
                self._data,
                mode=self._mode,
                tries=_NO_LIMIT_TRIES,
                protection=self._id,
                timeout_s=limit_s,
            )

    def _note_event(self, event: WatchEvent | Resynced) -> None:
        if isinstance(event, WatchEvent) and event.type is EventType.NODE_DELETED:
            self._lose("its znode was deleted")

    def _note_state(self, state: SessionState) -> None:
        if state in _ENDS:
            self._lose(_ENDS[state])
        elif state is SessionState.SUSPENDED:
            self._stop_timer()
            engine = self.tools.engine
            left_s = engine.session.timeout_ms / 1000 - engine.silence_s
            self._timer = Timer(left_s, self._note_silence)
        elif state is SessionState.CONNECTED:
            self._stop_timer()
            self._is_silent = False

    def _note_silence(self) -> None:
        """Note that the server may have ended the session without the client's knowledge."""
        self._is_silent = True
        if self._is_held:
            self._lose("no server was connected for the session timeout")

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _lose(self, reason: str) -> None:
        if self._is_over or self.lost.is_set():
            return
        self.reason = reason
        self.lost.set()
        self.changed.set()
        if self._on_loss is not None:
            self._on_loss()
