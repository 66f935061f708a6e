"""Connects workers and dispatchers to ZooKeeper. Imports ``zoolet.client`` and kazoo."""

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

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.client.kazoo.sessions import NoSessionError, SessionOpener
from zoolet.jobs.errors import ConnectError, JobTimeoutError

log = logging.getLogger(__name__)

CLOSE_S: Final = 10.0
"""The default time limit for closing a session, in seconds."""


class _WithoutSecrets(logging.Filter):
    """Removes logins and tracebacks from kazoo's log.

    kazoo logs each request at the level DEBUG, and a traceback if the server is not a ZooKeeper.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and any(isinstance(arg, Auth) for arg in record.args):
            return False
        if record.exc_info:
            record.msg, record.args = "the server's reply is not a ZooKeeper reply", ()
            record.exc_info = record.exc_text = None
        return True


_kazoo_log = logging.getLogger("kazoo.zoolet")
_kazoo_log.addFilter(_WithoutSecrets())


class LeanHandler(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's threading handler with less work for each request.

    kazoo creates a selector for each wait, and waits four times for each request; a poll object
    takes a fifth of the time. Callbacks run in the connection's thread, not in a thread of their
    own, because the job system's callbacks only put an item into a queue.
    docs/decisions/0033 has the measurements.
    """

    def select(
        self, readers: Any, writers: Any, _: Any, timeout: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Wait like select.select, but without its limit of the descriptors' numbers."""
        if not hasattr(select, "poll"):  # Windows
            return select.select(readers, writers, _, timeout)
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
        """Start a thread of the client; if it fails, log the error without a traceback."""

        def run() -> None:
            try:
                func(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 -- it closes the client, which callers see
                log.info("a thread of the ZooKeeper client failed: %r", error)

        thread: threading.Thread = super().spawn(run)
        return thread

    def dispatch_callback(self, callback: Any) -> None:
        """Run the callback; an exception in it must not end the connection's thread."""
        try:
            callback.func(*callback.args)
        except Exception:
            log.exception("a callback of a ZooKeeper client failed")


def connect(settings: ConnectionSettings) -> KazooClient:
    """Return a client that has a session; raises the errors of `open_session`."""
    client = new_client(settings)
    open_session(client, settings)
    return client


def new_client(settings: ConnectionSettings) -> KazooClient:
    """Return a client that is not started; it tries to reconnect without a time limit.

    Raises:
        ValueError: the hosts do not have the form ``host:port[,host:port...]``.
    """
    return KazooClient(
        handler=LeanHandler(),
        logger=_kazoo_log,
        connection_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0),
        **settings.for_kazoo(),
    )


def open_session(client: KazooClient, settings: ConnectionSettings) -> None:
    """Start a client, and wait until the client has a session.

    Raises:
        JobTimeoutError: no server replied in time; the message names the cause.
        ConnectError: the client cannot connect with these settings; the message says what to
            change.
    """
    try:
        SessionOpener(client, settings, "--server").open()
    except NoSessionError as error:
        close_client(client, CLOSE_S)
        if error.is_late:
            raise JobTimeoutError(str(error)) from None
        raise ConnectError(str(error)) from None


def on_session_end(client: KazooClient, call: Callable[[], None]) -> None:
    """Call ``call`` in a thread of the client when the client's session has ended."""

    def listen(state: str) -> None:
        if state == KazooState.LOST:
            call()

    client.add_listener(listen)


def close_client(client: KazooClient, timeout_s: float | None) -> None:
    """End a client's session; after ``timeout_s``, a daemon thread completes the work.

    kazoo waits for the server's reply. If no reply comes, it waits for up to several session
    timeouts.
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
