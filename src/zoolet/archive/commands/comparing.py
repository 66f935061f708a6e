"""``zoolet data diff``."""

import sys
from pathlib import Path

import click

from zoolet.archive.commands.options import MomentType, key_option
from zoolet.archive.errors import ArchiveError
from zoolet.archive.reading.opening import is_archive, open_source
from zoolet.client.command_options import FILE
from zoolet.console.reporting import reporting
from zoolet.console.texts import escaped
from zoolet.data.comparing import differences
from zoolet.data.directory_reader import machine_of
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.errors import StorageError
from zoolet.storage.recovery import ALL, AsOf


@click.command("diff")
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@click.option(
    "--logs",
    type=FILE,
    multiple=True,
    help="The dataLogDir of A (if A has no logs: of B); a second --logs names the dataLogDir of B.",
)
@click.option(
    "--as-of",
    "moments",
    type=MomentType(),
    multiple=True,
    help="The zxid or time for A; a second --as-of is for B. Without it, the newest state.",
)
@key_option
@reporting(StorageError, ArchiveError)
def diff_command(
    left: str,
    right: str,
    logs: tuple[Path, ...],
    moments: tuple[AsOf, ...],
    key_file: Path | None,
) -> None:
    """Compare two states; exit status 1 if they differ.

    A and B are data directories, snapshot files, or the folders or URLs of archives. A line begins
    with - for a path only in A, + for a path only in B, ~ for a path that differs.
    """
    names = (left, right)
    with_logs = [place for place, name in enumerate(names) if _has_log_directory(name)]
    if len(logs) > len(with_logs):
        raise click.UsageError("There are more --logs than data directories.")
    if len(moments) > len(names):
        raise click.UsageError("There are more --as-of than states.")
    logs_of = dict(zip(with_logs, logs, strict=False))
    machines = [
        _machine(name, logs_of.get(place), (*moments, ALL, ALL)[place], key_file)
        for place, name in enumerate(names)
    ]
    differs = False
    for sign, path, fields in differences(*machines):
        differs = True
        click.echo(f"{sign} {path}")
        for name, (ours, theirs) in fields.items():
            click.echo(f"    {name}: {ours!r} -> {theirs!r}")
    sys.exit(1 if differs else 0)


def _has_log_directory(name: str) -> bool:
    return not is_archive(name) and not Path(name).is_file()


def _machine(name: str, logs: Path | None, as_of: AsOf, key_file: Path | None) -> StateMachine:
    if Path(name).is_file():
        if as_of != ALL:
            raise click.UsageError(f"{name} is a single snapshot: --as-of needs the txns after it.")
        return machine_of(Path(name))
    recovery = open_source(name, logs, key_file).state_at(as_of)
    for note in recovery.notes:
        click.echo(f"note: {escaped(note)}", err=True)
    return recovery.machine
