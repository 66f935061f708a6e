"""Connecting to ZooKeeper as workers and dispatchers need it. Imports ``model`` and ``client``."""

import logging
import select
import threading
from collections.abc import Callable
from typing import Any, Final

from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.serialization import Auth
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from zoolet.client.sessions import NoSessionError, SessionOpener
from zoolet.client.settings import ConnectionSettings
from zoolet.jobs.errors import ConnectError, JobTimeoutError

log = logging.getLogger(__name__)

CLOSE_S: Final = 10.0
"""How long the end of a session may take, unless the caller says otherwise."""


class _WithoutSecrets(logging.Filter):
    """Keeps from kazoo's log what it must not have: logins, and tracebacks.

    kazoo logs each request at the level DEBUG, and a traceback for a server that is no ZooKeeper.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and any(isinstance(arg, Auth) for arg in record.args):
            return False
        if record.exc_info:
            record.msg, record.args = "the server sent what is no reply of ZooKeeper", ()
            record.exc_info = record.exc_text = None
        return True


_kazoo_log = logging.getLogger("kazoo.zoolet")
_kazoo_log.addFilter(_WithoutSecrets())


class LeanHandler(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's own handler, with less on the way of a request.

    kazoo makes a selector for each wait, four for each request; a poll object costs a fifth of it.
    Callbacks are called in the connection's thread instead of being handed to another one: those
    that jobs leave with the client only put something into a queue. Measured in
    docs/decisions/0033.
    """

    def select(
        self, readers: Any, writers: Any, _: Any, timeout: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Wait as select.select does, for descriptors of any number."""
        poll = select.poll()
        by_descriptor = {}
        for waiting, mask in ((readers, select.POLLIN), (writers, select.POLLOUT)):
            for source in waiting:
                by_descriptor[source.fileno()] = source
                poll.register(source, mask)
        ready = [
            by_descriptor[fd] for fd, _ in poll.poll(None if timeout is None else timeout * 1000)
        ]
        return (
            [source for source in ready if source in readers],
            [source for source in ready if source in writers],
            [],
        )

    def spawn(self, func: Any, *args: Any, **kwargs: Any) -> threading.Thread:
        """Run a thread of the client; its failure closes the client, and prints no traceback."""

        def run() -> None:
            try:
                func(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 -- the client is closed, which is noticed
                log.info("a thread of the ZooKeeper client failed: %r", error)

        thread: threading.Thread = super().spawn(run)
        return thread

    def dispatch_callback(self, callback: Any) -> None:
        """Call it; what it raises must not end the connection's thread."""
        try:
            callback.func(*callback.args)
        except Exception:
            log.exception("a callback of a ZooKeeper client failed")


def connect(settings: ConnectionSettings) -> KazooClient:
    """Return a client with a session; raises what `open_session` raises."""
    client = new_client(settings)
    open_session(client, settings)
    return client


def new_client(settings: ConnectionSettings) -> KazooClient:
    """Return a client, not started, that waits for lost connections for ever.

    Raises:
        ValueError: the hosts are not ``host:port[,host:port...]``.
    """
    return KazooClient(
        handler=LeanHandler(),
        logger=_kazoo_log,
        connection_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0),
        **settings.for_kazoo(),
    )


def open_session(client: KazooClient, settings: ConnectionSettings) -> None:
    """Start a client, and wait until it has a session.

    Raises:
        JobTimeoutError: no server answered in time; the message names the cause.
        ConnectError: no server can answer with these settings; the message says what to change.
    """
    try:
        SessionOpener(client, settings, "--server").open()
    except NoSessionError as error:
        close_client(client, CLOSE_S)
        if error.is_late:
            raise JobTimeoutError(str(error)) from None
        raise ConnectError(str(error)) from None


def on_session_end(client: KazooClient, call: Callable[[], None]) -> None:
    """Call a function, in another thread, when the client's session has ended."""

    def listen(state: str) -> None:
        if state == KazooState.LOST:
            call()

    client.add_listener(listen)


def close_client(client: KazooClient, timeout_s: float | None) -> None:
    """End a client's session; what takes longer than ``timeout_s`` goes on in a daemon thread.

    kazoo waits for the server's answer, for up to some session timeouts if it does not come.
    """

    def close() -> None:
        try:
            client.stop()
            client.close()
        except Exception:
            log.debug("a ZooKeeper client was not closed in order", exc_info=True)

    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    thread.join(timeout_s)
