"""Connecting to ZooKeeper as workers and dispatchers need it. Imports zoolet.model."""

from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from zoolet.model import paths


def connect(hosts: str, *, session_timeout_ms: int, connect_timeout_ms: int) -> KazooClient:
    """Return a started client that waits out lost connections, for ever and without long pauses.

    Raises:
        TimeoutError: no server answered in time.
        ValueError: ``hosts`` are not ``host:port[,host:port...]``.
    """
    try:
        client = KazooClient(
            hosts=hosts,
            timeout=session_timeout_ms / 1000,
            connection_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0),
            command_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0),
        )
    except ValueError as error:
        raise ValueError(f"servers are written host:port[,host:port...]: {error}") from None
    try:
        client.start(timeout=connect_timeout_ms / 1000)
    except client.handler.timeout_exception:
        client.close()
        raise TimeoutError(
            f"no ZooKeeper server answers at {hosts} within {connect_timeout_ms} ms: is it started?"
        ) from None
    return client


def without_chroot(hosts: str, root: str) -> tuple[str, str]:
    """Return hosts and root with the hosts' chroot moved to the front of the root.

    kazoo wants a chroot to exist before it connects, and a queue creates its own root.
    """
    servers, slash, chroot = hosts.partition("/")
    chroot = chroot.rstrip("/")
    if not slash or not chroot:
        return servers, root
    return servers, f"/{chroot}" if root == paths.ROOT else f"/{chroot}{root}"
