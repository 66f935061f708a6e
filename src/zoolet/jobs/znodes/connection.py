"""Makes and opens the links to ZooKeeper of workers, dispatchers and commands.

What the job system opens itself uses `zoolet.client.Client`. A user may also give a started
KazooClient; kazoo is imported only then. Imports ``zoolet.client``.
"""

from typing import TYPE_CHECKING, Final, TypeAlias

from zoolet.client.connecting.opening import NoSessionError
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.client.thread_client.client import Client
from zoolet.client.thread_client.opening import ClientOpener, client_of
from zoolet.jobs.errors import ConnectError, JobTimeoutError
from zoolet.jobs.znodes.client_link import ClientLink
from zoolet.jobs.znodes.link import Link

if TYPE_CHECKING:
    from kazoo.client import KazooClient

    AnyClient: TypeAlias = Client | KazooClient | Link
    """What users give to the job system: a started client, or what it uses itself: a link."""

CLOSE_S: Final = 10.0
"""The default time limit for closing a session, in seconds."""


def link_of(client: "AnyClient") -> Link:
    """Return the link of a client; a link is returned itself."""
    if isinstance(client, Link):
        return client
    if isinstance(client, Client):
        return ClientLink(client)
    from zoolet.jobs.znodes.kazoo_link import KazooLink  # noqa: PLC0415 -- kazoo takes 80 ms

    return KazooLink(client)


def connect(settings: ConnectionSettings) -> ClientLink:
    """Return a link that has a session; raises the errors of `open_session`."""
    link = new_link(settings)
    open_session(link, settings)
    return link


def new_link(settings: ConnectionSettings) -> ClientLink:
    """Return a link that is not connected; later it reconnects without a time limit.

    Raises:
        ValueError: the hosts do not have the form ``host:port[,host:port...]``.
    """
    return ClientLink(client_of(settings))


def open_session(link: ClientLink, settings: ConnectionSettings) -> None:
    """Start the client of a link, and wait until the client has a session.

    Raises:
        JobTimeoutError: no server replied in time; the message names the cause.
        ConnectError: the client cannot connect with these settings; the message says what to
            change.
    """
    try:
        ClientOpener(link.client, settings, "--server").open()
    except NoSessionError as error:
        if error.is_late:
            raise JobTimeoutError(str(error)) from None
        raise ConnectError(str(error)) from None
