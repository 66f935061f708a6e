"""``zoolet data restore``: into a new data directory, or into a running server."""

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from zoolet.archive.commands.options import (
    MomentType,
    just_before,
    key_option,
    logs_option,
)
from zoolet.archive.errors import ArchiveError
from zoolet.archive.reading.opening import open_source
from zoolet.client.command_options import FILE, connection_options, settings_of
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.client.transfers import is_system
from zoolet.console.reporting import reporting
from zoolet.console.texts import escaped
from zoolet.data.commands import checked_path
from zoolet.data.new_directory import subtree_of, write_data_directory
from zoolet.model import paths
from zoolet.model.addresses import AddressError
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.errors import StorageError
from zoolet.storage.recovery import ALL, AsOf

_MOST_LINES: Final = 20
_MOST_COUNTER_STEPS: Final = 10_000
_OPTIONS_OF_DIRECTORY: Final = frozenset(
    {"source", "as_of", "before", "to", "path", "logs", "key_file"}
)


@click.command("restore")
@click.argument("source")
@click.option(
    "--as-of",
    type=MomentType(),
    help="The last txn of the state: a zxid (0x1a2b) or a time (2026-11-23T12:00:00).",
)
@click.option("--before", type=MomentType(), help="The first txn that the state does not have.")
@click.option("--to", metavar="NEWDIR", type=FILE, help="Create this data directory.")
@click.option(
    "--to-server",
    "hosts",
    metavar="HOST:PORT[,...]",
    help="Write the changes to this running server or ensemble.",
)
@click.option(
    "--path",
    default=paths.ROOT,
    show_default=True,
    help="Restore only this subtree.",
)
@click.option("--dry-run", is_flag=True, help="Print the planned changes, and write nothing.")
@click.option("--yes", is_flag=True, help="Write the planned changes without a question.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON lines.")
@click.option(
    "--most-lines",
    type=click.IntRange(0),
    default=_MOST_LINES,
    show_default=True,
    help="How many changed paths are printed.",
)
@click.option(
    "--most-counter-steps",
    type=click.IntRange(0),
    default=_MOST_COUNTER_STEPS,
    show_default=True,
    help="The most znodes to create and delete to raise the sequence counter of one parent.",
)
@logs_option
@key_option
@connection_options
@click.pass_context
@reporting(StorageError, ArchiveError)
def restore_command(
    context: click.Context,
    /,
    source: str,
    as_of: AsOf | None,
    before: AsOf | None,
    to: Path | None,
    hosts: str | None,
    path: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    most_lines: int,
    most_counter_steps: int,
    logs: Path | None,
    key_file: Path | None,
    **connection: Any,
) -> None:
    """Restore the state at a zxid or a time, into a new data directory or a running server.

    SOURCE is a data directory, or the folder or URL of an archive. With --to-server, the command
    compares the state with the server, prints the changes, and asks before it writes them. Exit
    status 1 if some changes were not made.
    """
    if (as_of is None) == (before is None):
        raise click.UsageError("Give either --as-of or --before, with a zxid or a time.")
    moment = just_before(before) if before is not None else as_of
    if (to is None) == (hosts is None):
        raise click.UsageError("Give either --to NEWDIR or --to-server HOST:PORT.")
    if hosts is None:
        _check_options_of_directory(context)
    checked_path(path)
    settings = None if hosts is None else _server(hosts, path, connection)
    recovery = open_source(source, logs, key_file).state_at(moment or ALL)
    machine = recovery.machine
    for note in recovery.notes:
        click.echo(f"note: {escaped(note)}", err=True)
    if path not in machine.tree.records:
        raise ArchiveError(
            f"the state at zxid 0x{machine.zxid:x} has no znode {path}. See its history: zoolet"
            f" data history {source} {path}"
        )
    if to is not None:
        _restore_to_directory(machine, path, to)
    elif not machine.zxid:
        raise ArchiveError(
            "there is no txn at or before this moment, so the state is that of a new server:"
            f" restoring it would delete everything below {path}. Check the year and the time zone"
            " of the moment."
        )
    elif settings is not None:
        from zoolet.archive.commands.to_server import (  # noqa: PLC0415 -- imports the client
            Wishes,
            restore_to_server,
        )

        wishes = Wishes(most_counter_steps, most_lines, as_json, dry_run, yes)
        restore_to_server(machine, path, settings, wishes)


def _check_options_of_directory(context: click.Context) -> None:
    """Raise click.UsageError if an option is given that only --to-server uses."""
    for name in context.params:
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and name not in _OPTIONS_OF_DIRECTORY:
            option = next(each for each in context.command.params if each.name == name)
            raise click.UsageError(f"{option.opts[0]} needs --to-server.")


def _server(hosts: str, path: str, connection: dict[str, Any]) -> ConnectionSettings:
    """Return the settings of the connection; raises click.UsageError."""
    settings = settings_of(hosts, **connection)
    try:
        chroot = settings.servers.chroot
    except AddressError as error:
        raise click.BadParameter(str(error), param_hint="--to-server") from error
    if chroot:
        raise click.BadParameter(f"leave out {chroot}: use --path.", param_hint="--to-server")
    if is_system(path):
        raise click.BadParameter(f"{paths.SYSTEM} is not restored.", param_hint="--path")
    return settings


def _restore_to_directory(machine: StateMachine, path: str, to: Path) -> None:
    tree = machine.tree if path == paths.ROOT else subtree_of(machine.tree, path)
    sessions = {found.session_id: found.timeout_ms for found in machine.sessions.by_id.values()}
    written = write_data_directory(to, machine.zxid, tree, sessions)
    click.echo(f"{written}: {len(tree)} znodes as of zxid 0x{machine.zxid:x}")
