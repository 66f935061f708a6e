"""The context of a command: the connection, the output and the typed lines."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from zoolet.client.thread_client.client import Client
from zoolet.model import paths
from zoolet.model.results import Event
from zoolet.shell.commands.arguments import check_path
from zoolet.shell.connection import Connection
from zoolet.shell.errors import CommandError, UsageError
from zoolet.shell.formatting import show_event
from zoolet.shell.output import Output
from zoolet.shell.settings import Settings
from zoolet.shell.watches import Watches


class Place(NamedTuple):
    """The meaning of an argument ``/PATH`` or ``HOST:PORT/PATH``.

    Attributes:
        client: the client of the server.
        path: the path, relative to the client's chroot.
        hosts: the servers as the user wrote them, with the chroot.
    """

    client: Client
    path: str
    hosts: str

    def __str__(self) -> str:
        return f"{self.path} on {self.hosts}"


class Context:
    """One run of the shell.

    Attributes:
        settings: the settings of the shell.
        output: the output of the shell.
        connection: the current connection; closed after ``close``.
        lines: the typed lines; the last is the current line.
        prints_watches: whether watch events are printed (``printwatches``).
        has_changed: whether the current command has sent a request that may have changed something.
    """

    def __init__(self, settings: Settings, output: Output) -> None:
        self.settings = settings
        self.output = output
        self.lines: list[str] = []
        self.prints_watches = True
        self.has_changed = False
        self.connection = Connection(settings.connection, self._on_event)

    @property
    def client(self) -> Client:
        """The client of the connection."""
        return self.connection.client

    @property
    def changing_client(self) -> Client:
        """The client of the connection, for a request that may change something.

        The message after Ctrl-C then says that the change may have been executed.
        """
        self.has_changed = True
        return self.connection.client

    @property
    def watches(self) -> Watches:
        """The watches of the connection."""
        return self.connection.watches

    def connect(self, hosts: str) -> None:
        """Close the current session and open a session with ``hosts``."""
        connection = Connection(replace(self.settings.connection, hosts=hosts), self._on_event)
        self.close()
        self.connection = connection
        connection.open()

    def close(self) -> None:
        """Close the current session, if there is one."""
        if not self.connection.is_closed:
            self.connection.close()

    def _on_event(self, event: Event) -> None:
        """Print a watch event, unless ``printwatches off`` was run."""
        if self.prints_watches:
            self.output.say(show_event(event))

    @contextlib.contextmanager
    def place(self, written: str) -> Iterator[Place]:
        """Give the Place for ``/PATH`` or ``HOST:PORT/PATH``.

        The connection to another server uses the same credentials, and is closed when the block
        ends.
        """
        hosts, slash, path = written.partition("/")
        if not slash:
            raise UsageError(f"{written!r}: a place is /PATH, or HOST:PORT/PATH on another server")
        path = f"/{path}"
        check_path(path)
        if not hosts:
            yield self.here(path)
            return
        settings = replace(self.connection.settings, hosts=hosts)
        connection = Connection(settings, self._on_event)
        try:
            connection.open()
            yield Place(connection.client, path, hosts)
        finally:
            if not connection.is_closed:
                connection.close()

    def here(self, path: str) -> Place:
        """Return the Place for a path on the current connection."""
        return Place(self.client, path, self.connection.hosts)

    def confirm(self, what: str, znodes: int, *, is_sure: bool) -> None:
        """Ask for confirmation if more than one znode will change; raises CommandError after "no".

        ``what`` describes the change and names the server.
        """
        is_asked = znodes > 1 and not is_sure
        if is_asked and not self.output.confirm(f"{what}: {znodes:,} znodes?"):
            raise CommandError("Nothing was done")

    def refuse_root(self, path: str, command: str) -> None:
        """Raise CommandError if ``path`` is the server's root, which cannot be deleted."""
        if path == paths.ROOT and not self.client.chroot:
            raise CommandError(
                f"{command}: the root and ZooKeeper's own znodes cannot be deleted or moved"
            )
