"""``zoolet mirror``: copies a subtree continuously to another server.

Exit statuses: 0 the mirror was stopped, or with --once both subtrees are equal; 1 it cannot go on;
2 wrong usage.
"""

import asyncio
import contextlib
import hashlib
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
from rich.console import Console

from zoolet.archive.commands.options import check_finite, state_home
from zoolet.archive.errors import ArchiveError
from zoolet.archive.metrics import serve_metrics
from zoolet.archive.mirror.metrics import figures_of
from zoolet.archive.mirror.mirror import Mirror, MirrorOptions
from zoolet.archive.mirror.progress import show, text_of
from zoolet.archive.mirror.state_file import StateFile, explained
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.command_options import FILE, Logins
from zoolet.client.connecting.opening import NoSessionError, login_refused
from zoolet.client.connecting.options import CONNECT_TIMEOUT_MS, ClientOptions, Credential
from zoolet.client.connecting.settings import (
    TIMEOUT_LIMIT_MS,
    ConnectionSettings,
    SettingsError,
    tls_files,
)
from zoolet.client.errors import AuthFailedError, NoServerError, ZooKeeperError
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
_METRICS_ADDRESS: Final = "127.0.0.1"
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
@reporting(ArchiveError, NoSessionError, ZooKeeperError)
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
        keeps_ephemerals=values["keep_ephemerals"],
        counter_steps=values["counter_steps"],
        compare_s=values["compare_s"],
        marker_acl=_CREATOR_ACL if sides[1].settings.auth else OPEN_ACL,
    )
    path = state_path or _default_state_path(*sides)
    state = StateFile(path, str(sides[0]), str(sides[1]))
    try:
        asyncio.run(_run(sides[0], sides[1], state, options, metrics_port))
    except sqlite3.Error as error:
        raise explained(path, error) from error
    finally:
        state.close()


def _default_state_path(source: Side, target: Side) -> Path:
    digest = hashlib.sha256(f"{source}\n{target}".encode()).hexdigest()[:16]
    return state_home() / "mirrors" / f"{digest}.sqlite"


async def _run(
    source: Side, target: Side, state: StateFile, options: MirrorOptions, metrics_port: int | None
) -> None:
    console = Console()

    def say(text: str) -> None:
        console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    async with contextlib.AsyncExitStack() as stack:
        clients = [await _started(stack, side) for side in (source, target)]
        running = Mirror(clients[0], source.path, clients[1], target.path, state, options, say)
        if metrics_port is not None:
            port = serve_metrics(
                metrics_port, lambda: figures_of(running.report()), _METRICS_ADDRESS
            )
            say(f"metrics on http://{_METRICS_ADDRESS}:{port}/metrics")
        say(f"mirror from {source} to {target}")
        kept = "; --keep-ephemerals makes them persistent" if options.keeps_ephemerals else ""
        say(_LOST.format(ephemerals=kept, compare_s=options.compare_s))
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(signum, running.stop)
        showing = loop.create_task(show(running.report, console, say))
        try:
            await running.run()
        finally:
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing
        say(f"the mirror has ended: {text_of(running.report())}")


async def _started(stack: contextlib.AsyncExitStack, side: Side) -> AsyncClient:
    """Return a client with a session, which the stack closes."""
    try:
        return await stack.enter_async_context(side.client())
    except AuthFailedError:
        raise login_refused(scheme for scheme, _ in side.settings.auth) from None
    except NoServerError as error:
        raise ArchiveError(f"{side}: {error}") from error
