"""``zoolet data diff``."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from zoolet.archive.commands.options import MomentType, key_option
from zoolet.archive.errors import ArchiveError
from zoolet.archive.reading.opening import is_archive, open_source
from zoolet.client.command_options import FILE
from zoolet.console.reporting import reporting
from zoolet.console.texts import escaped
from zoolet.data.commands import checked_path
from zoolet.data.comparing import Difference, differences
from zoolet.data.directory_reader import machine_of
from zoolet.exports.lines import Shown, show_acl, show_data
from zoolet.model import paths
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
@click.option("--path", help="Compare only the subtree of this znode.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON lines, with the data, the ACL and the Stat of both states.",
)
@key_option
@reporting(StorageError, ArchiveError)
def diff_command(
    left: str,
    right: str,
    logs: tuple[Path, ...],
    moments: tuple[AsOf, ...],
    path: str | None,
    as_json: bool,
    key_file: Path | None,
) -> None:
    """Compare two states; exit status 1 if they differ.

    A and B are data directories, snapshot files, or the folders or URLs of archives. A line begins
    with - for a path only in A, + for a path only in B, ~ for a path that differs. With --json, a
    line with the sign = has the ACLs of an ancestor of a path that differs.
    """
    below = None if path is None else checked_path(path)
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
    ancestors: set[str] = set()
    for found in differences(*machines, below=below):
        differs = True
        for line in _json_lines(found, ancestors, *machines) if as_json else _text_lines(found):
            click.echo(line)
    sys.exit(1 if differs else 0)


def _text_lines(found: Difference) -> Iterator[str]:
    yield f"{found.sign} {found.path}"
    for name, (ours, theirs) in found.fields.items():
        yield f"    {name}: {ours!r} -> {theirs!r}"


def _json_lines(
    found: Difference, ancestors: set[str], left: StateMachine, right: StateMachine
) -> Iterator[str]:
    """Yield the ancestors that were not shown yet, then the difference."""
    path = found.path
    if not path.startswith(paths.ROOT):
        yield json.dumps({"sign": found.sign, "path": path, "before": None, "after": None})
        return
    while path != paths.ROOT and (path := paths.parent_of(path)) not in ancestors:
        ancestors.add(path)
        sides = [_acl_in(machine, path) for machine in (left, right)]
        yield json.dumps({"sign": "=", "path": path, "before": sides[0], "after": sides[1]})
    sides = [_znode_in(machine, found.path) for machine in (left, right)]
    shown = {"sign": found.sign, "path": found.path, "before": sides[0], "after": sides[1]}
    yield json.dumps(shown)


def _acl_in(machine: StateMachine, path: str) -> Shown | None:
    has_path = machine.tree.record_of(path) is not None
    return {"acl": show_acl(machine.tree.acl_of(path))} if has_path else None


def _znode_in(machine: StateMachine, path: str) -> Shown | None:
    znode = machine.tree.find(path)
    if znode is None:
        return None
    stat = znode.stat._asdict()
    return {**show_data(znode.data), "acl": show_acl(znode.acl), "stat": stat}


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
