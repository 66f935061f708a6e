"""``zoolet mirror``: copies a subtree continuously to another server.

Exit statuses: 0 the mirror was stopped, or with --once both subtrees are equal; 1 it cannot go on;
2 wrong usage.
"""

import asyncio
import contextlib
import hashlib
import signal
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
from rich.console import Console

from zoolet.archive.commands.options import check_finite, state_home
from zoolet.archive.errors import ArchiveError
from zoolet.archive.metrics import ADDRESS, serve_metrics
from zoolet.archive.mirror.history import older_zxid, other_source
from zoolet.archive.mirror.metrics import figures_of
from zoolet.archive.mirror.mirror import Mirror, MirrorOptions
from zoolet.archive.mirror.older import find_older
from zoolet.archive.mirror.progress import show, text_of
from zoolet.archive.mirror.records.figures import Report
from zoolet.archive.mirror.records.state_file import StateFile, explained
from zoolet.archive.mirror.refusals import SOURCE, TARGET, Part, no_session
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.command_options import FILE, Logins
from zoolet.client.connecting.options import CONNECT_TIMEOUT_MS, ClientOptions, Credential
from zoolet.client.connecting.settings import (
    TIMEOUT_LIMIT_MS,
    ConnectionSettings,
    SettingsError,
    tls_files,
)
from zoolet.client.errors import ZooKeeperError
from zoolet.client.transfers import is_system
from zoolet.console.reporting import reporting
from zoolet.console.terminal import printable
from zoolet.model import paths
from zoolet.model.acl import ACL, OPEN_ACL, Id
from zoolet.model.addresses import AddressError
from zoolet.model.codes import Permission

FROM_AUTH_VARIABLE: Final = "ZOOLET_FROM_AUTH"
TO_AUTH_VARIABLE: Final = "ZOOLET_TO_AUTH"

C = TypeVar("C", bound=Callable[..., Any])

_CALL_TIMEOUT_S: Final = 30.0
_CREATOR_ACL: Final = (ACL(int(Permission.ALL), Id("auth", "")),)
_LOST: Final = """\
The target gets data and ACLs. It does not get:
- czxid, mzxid, pzxid, ctime, mtime, version, cversion and aversion: the target has its own
- states between two reads: of several changes in a short time, the target gets the last one
- ephemerals: their sessions exist only at the source{ephemerals}
- containers and znodes with a TTL as such: a client cannot see the kind; they become persistent
- quotas, and everything else below /zookeeper
Changes of ACLs have no events: they are found every {compare_s:g} s (--compare-every).
Below a parent, the target's counter for sequential znodes is raised to the source's."""


class Side(NamedTuple):
    """One side of a mirror: the settings of the connection, and the path of the subtree."""

    settings: ConnectionSettings
    path: str

    @classmethod
    def of(
        cls,
        text: str,
        auth: tuple[Credential, ...],
        tls: tuple[Path | None, Path | None, Path | None],
        session_timeout_ms: int,
        connect_timeout_ms: int,
    ) -> "Side":
        """Return a side from the values of its options."""
        try:
            settings = ConnectionSettings(
                text, session_timeout_ms, connect_timeout_ms, auth, tls_files(*tls)
            )
            side = cls(*settings.moving_chroot(paths.ROOT))
        except (SettingsError, AddressError) as error:
            raise click.UsageError(printable(str(error))) from None
        if is_system(side.path):
            raise click.UsageError(
                f"{printable(side.path)} has the data of the servers, which a mirror can neither"
                " copy nor write: choose another path"
            )
        return side

    def __str__(self) -> str:
        return self.settings.hosts + ("" if self.path == paths.ROOT else self.path)

    def client(self) -> AsyncClient:
        """Return a client that is not started."""
        settings = self.settings
        options = ClientOptions(
            session_timeout_ms=settings.session_timeout_ms,
            connect_timeout_s=settings.connect_timeout_s,
            call_timeout_s=_CALL_TIMEOUT_S,
            auth=settings.auth,
            tls=settings.tls,
        )
        return AsyncClient(settings.hosts, options)


def _side_options(name: str, variable: str) -> Callable[[C], C]:
    """Return a decorator that adds the options of one side."""
    options = (
        click.option(
            f"--{name}-auth",
            multiple=True,
            type=Logins(),
            envvar=variable,
            show_envvar=True,
            help="Login, like digest:user:password. May be repeated; the variable has one login in"
            " each line.",
        ),
        click.option(
            f"--{name}-tls-ca", type=FILE, help="Use TLS, with certificates of this CA (PEM file)."
        ),
        click.option(f"--{name}-tls-cert", type=FILE, help="Certificate of the client (PEM file)."),
        click.option(f"--{name}-tls-key", type=FILE, help="Private key of the client (PEM file)."),
    )

    def add(command: C) -> C:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command("mirror")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="HOST:PORT[,...][/PATH]",
    help="Source: the servers, and the root of the subtree.",
)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="HOST:PORT[,...][/PATH]",
    help="Target: the servers, and the root of the copy.",
)
@click.option(
    "--once", is_flag=True, help="End when both subtrees are equal, for the end of a migration."
)
@click.option(
    "--on-conflict",
    type=click.Choice(["stop", "overwrite"]),
    default="stop",
    show_default=True,
    help="What to do if another client changes the target.",
)
@click.option(
    "--accept-source",
    is_flag=True,
    help="Accept a source that is another server, or that has lost changes: the target becomes"
    " equal to it. Give it for one start only.",
)
@click.option("--keep-ephemerals", is_flag=True, help="Copy ephemerals as persistent znodes.")
@click.option(
    "--counter-steps",
    type=click.IntRange(min=0),
    default=100_000,
    show_default=True,
    help="Most znodes to create and delete below a parent to raise its counter.",
)
@click.option(
    "--compare-every",
    "compare_s",
    type=click.FloatRange(min=1),
    callback=check_finite,
    metavar="SECONDS",
    default=600,
    show_default=True,
    help="Time between comparisons of both subtrees, which find changes of ACLs.",
)
@click.option(
    "--state",
    "state_path",
    type=FILE,
    metavar="FILE",
    help="State of the mirror. Without the file, all data are compared."
    "  [default: a file below $XDG_STATE_HOME/zoolet/mirrors]",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Port of the metrics for Prometheus on 127.0.0.1; 0: any free port.",
)
@click.option(
    "--session-timeout-ms",
    type=click.IntRange(1, TIMEOUT_LIMIT_MS),
    default=10_000,
    show_default=True,
    help="Session timeout on both sides.",
)
@click.option(
    "--connect-timeout-ms",
    type=click.IntRange(1, TIMEOUT_LIMIT_MS),
    default=CONNECT_TIMEOUT_MS,
    show_default=True,
    help="Time limit for the first connection to each side.",
)
@_side_options("from", FROM_AUTH_VARIABLE)
@_side_options("to", TO_AUTH_VARIABLE)
@reporting(ArchiveError)
def mirror(
    *,
    source: str,
    target: str,
    state_path: Path | None,
    metrics_port: int | None,
    session_timeout_ms: int,
    connect_timeout_ms: int,
    **values: Any,
) -> None:
    """Copy a subtree to another server, and follow its changes (docs/mirror.md).

    Stop it with SIGTERM or Ctrl-C. It can be started again at any time, also after a crash.
    """
    sides = [
        Side.of(
            text,
            values[f"{name}_auth"],
            (values[f"{name}_tls_ca"], values[f"{name}_tls_cert"], values[f"{name}_tls_key"]),
            session_timeout_ms,
            connect_timeout_ms,
        )
        for name, text in (("from", source), ("to", target))
    ]
    options = MirrorOptions(
        ends_when_equal=values["once"],
        overwrites=values["on_conflict"] == "overwrite",
        accepts_source=values["accept_source"],
        keeps_ephemerals=values["keep_ephemerals"],
        counter_steps=values["counter_steps"],
        compare_s=values["compare_s"],
        marker_acl=_CREATOR_ACL if sides[1].settings.auth else OPEN_ACL,
    )
    path = state_path or _default_state_path(*sides)
    state = StateFile(path, str(sides[0]), str(sides[1]))
    try:
        asyncio.run(_Run(sides, state, options, metrics_port).run())
    except sqlite3.Error as error:
        raise explained(path, error) from error
    finally:
        state.close()


def _default_state_path(source: Side, target: Side) -> Path:
    digest = hashlib.sha256(f"{source}\n{target}".encode()).hexdigest()[:16]
    return state_home() / "mirrors" / f"{digest}.sqlite"


class _Run:
    """A run of the command: a mirror, and another one after the target has lost changes.

    Args:
        sides: the source and the target.
        state: the state file.
        options: the options of the mirror.
        metrics_port: the port of the metrics; None if they are not served.
    """

    def __init__(
        self,
        sides: Sequence[Side],
        state: StateFile,
        options: MirrorOptions,
        metrics_port: int | None,
    ) -> None:
        self._sides = sides
        self._state = state
        self._options = options
        self._metrics_port = metrics_port
        self._console = Console()
        self._mirror: Mirror | None = None
        self._showing: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._end = "the mirror has ended"

    async def run(self) -> None:
        """Mirror until the end.

        Raises:
            ArchiveError: the mirror cannot go on; the message says why.
        """
        try:
            while await self._run_once():
                self._options = self._options._replace(accepts_source=False)
        finally:
            if self._showing is not None:
                self._showing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._showing
        self._say(self._end)

    async def _run_once(self) -> bool:
        """Run one mirror; return whether another one must continue, with other sessions."""
        async with contextlib.AsyncExitStack() as stack:
            source = await _started(stack, self._sides[0], SOURCE)
            target = await _started(stack, self._sides[1], TARGET)
            self._mirror = Mirror(
                *(source, self._sides[0].path),
                *(target, self._sides[1].path),
                self._state,
                self._options,
                self._say,
            )
            if self._showing is None:
                self._begin()
            if self._is_stopped:
                return False
            running = asyncio.ensure_future(self._mirror.run())
            older = [
                asyncio.ensure_future(find_older(client, side.client))
                for client, side in zip((source, target), self._sides, strict=True)
            ]
            try:
                await asyncio.wait([running, *older], return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    await running
                    # Before the clients are closed.
                    self._end = f"the mirror has ended: {text_of(self._report())}"
                    return False
                if older[0].done():
                    raise other_source(older_zxid("source", source.last_zxid, older[0].result()))
                lost = older_zxid("target", target.last_zxid, older[1].result())
                self._say(f"{lost}. The mirror compares all data")
                return True
            finally:
                await _cancel([running, *older])

    def _begin(self) -> None:
        """Serve the metrics, print the first lines, and stop at a signal."""
        if self._metrics_port is not None:
            port = serve_metrics(self._metrics_port, lambda: figures_of(self._report()))
            self._say(f"metrics on http://{ADDRESS}:{port}/metrics")
        source, target = self._sides
        self._say(f"mirror from {source} to {target}")
        kept = "; --keep-ephemerals makes them persistent" if self._options.keeps_ephemerals else ""
        self._say(_LOST.format(ephemerals=kept, compare_s=self._options.compare_s))
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(signum, self._stop)
        self._showing = loop.create_task(show(self._report, self._console, self._say))

    def _report(self) -> Report:
        assert self._mirror is not None  # noqa: S101 -- called after `_begin`
        return self._mirror.report()

    def _stop(self) -> None:
        self._is_stopped = True
        if self._mirror is not None:
            self._mirror.stop()

    def _say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


async def _cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks, and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _started(stack: contextlib.AsyncExitStack, side: Side, part: Part) -> AsyncClient:
    """Return a client with a session, which the stack closes."""
    try:
        return await stack.enter_async_context(side.client())
    except ZooKeeperError as error:
        raise no_session(part, str(side), error) from error
