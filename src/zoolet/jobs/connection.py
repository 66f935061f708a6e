"""Connecting to ZooKeeper as workers and dispatchers need it. Imports ``model`` and ``client``."""

import logging
import select
import threading
from collections.abc import Callable
from typing import Any

from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

from zoolet.client.diagnosis import unresolved, why_no_session
from zoolet.model import paths
from zoolet.model.addresses import parse_servers

log = logging.getLogger(__name__)

_LOOK_TIMEOUT_S = 2.0


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

    def dispatch_callback(self, callback: Any) -> None:
        """Call it; what it raises must not end the connection's thread."""
        try:
            callback.func(*callback.args)
        except Exception:
            log.exception("a callback of a ZooKeeper client failed")


def connect(hosts: str, *, session_timeout_ms: int, connect_timeout_ms: int) -> KazooClient:
    """Return a started client that waits out lost connections, for ever and without long pauses.

    Raises:
        TimeoutError: no server answered in time; the message names the cause.
        ValueError: ``hosts`` are not ``host:port[,host:port...]``, or no host name resolves.
    """
    servers = parse_servers(hosts)
    if (reason := unresolved(servers)) is not None:
        raise ValueError(f"{reason}. Correct the address.")
    client = KazooClient(
        hosts=str(servers),
        timeout=session_timeout_ms / 1000,
        handler=LeanHandler(),
        connection_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0),
        command_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0),
    )
    try:
        client.start(timeout=connect_timeout_ms / 1000)
    except client.handler.timeout_exception:
        client.close()
        cause = why_no_session(servers, None, min(_LOOK_TIMEOUT_S, connect_timeout_ms / 1000))
        seen = "" if cause is None else f" ({cause.text})"
        raise TimeoutError(
            f"no ZooKeeper server answers at {hosts} within {connect_timeout_ms} ms{seen}: is it"
            " started?"
        ) from None
    return client


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


def without_chroot(hosts: str, root: str) -> tuple[str, str]:
    """Return hosts and root with the hosts' chroot moved to the front of the root.

    kazoo wants a chroot to exist before it connects, and a queue creates its own root. Raises
    ValueError if ``hosts`` are not ``host:port[,host:port...][/path]``.
    """
    servers = parse_servers(hosts)
    if not servers.chroot:
        return servers.hosts, root
    return servers.hosts, servers.chroot if root == paths.ROOT else servers.chroot + root
