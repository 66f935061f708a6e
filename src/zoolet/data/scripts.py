"""Apache ZooKeeper's scripts for data directories, with Apache's options.

``zkCleanup.sh``, ``zkTxnLogToolkit.sh``, ``zkSnapShotToolkit.sh`` and ``zkSnapshotComparer.sh`` are
separate commands; ``cli`` defines their console scripts. Exit statuses: 0 success; 1 the command
failed or found damage; 2 wrong usage.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from zoolet.console.reporting import reporting
from zoolet.data.commands import purge_and_tell
from zoolet.data.details import detail_lines, ncdu_json
from zoolet.data.directory_reader import directories_of
from zoolet.data.growth import Comparison, Sizes, Thresholds
from zoolet.data.toolkit import chop, dump, header_line, mend
from zoolet.storage.errors import StorageError
from zoolet.storage.files import by_zxid
from zoolet.storage.retention import LEAST_SNAPSHOTS
from zoolet.storage.snapshots import Snapshot, read_snapshot

_PATH = click.Path(readable=False, path_type=Path)
_HELP = {"help_option_names": ["-h", "--help"]}

FindDirectories = Callable[[Path | None], tuple[Path, Path | None]]
"""Takes the directory of zoo.cfg (None: the default); returns its dataDir and dataLogDir."""


@click.command("zkCleanup.sh", context_settings=_HELP)
@click.option(
    "--config", "config_directory", type=_PATH, metavar="DIR", help="The directory of zoo.cfg."
)
@click.argument("directories", nargs=-1, metavar="[dataLogDir [dataDir]]", type=_PATH)
@click.option(
    "-n",
    "count",
    required=True,
    type=click.IntRange(min=LEAST_SNAPSHOTS),
    help="The number of newest snapshots to keep, with the logs that they need.",
)
@click.pass_obj
@reporting(StorageError)
def zk_cleanup(
    find_directories: FindDirectories,
    config_directory: Path | None,
    directories: tuple[Path, ...],
    count: int,
) -> None:
    """Remove old snapshots and logs; by default in the directories that zoo.cfg names."""
    if len(directories) > 2:
        raise click.UsageError("name at most two directories: dataLogDir and dataDir")
    if directories:
        found = directories_of(directories[-1], directories[0])
    else:
        found = directories_of(*find_directories(config_directory))
    purge_and_tell(found, count)


@click.command("zkTxnLogToolkit.sh", context_settings=_HELP)
@click.option("-d", "--dump", "is_dump", is_flag=True, help="Print the txns (the default).")
@click.option("-r", "--recover", is_flag=True, help="Write FILE.fixed with correct checksums.")
@click.option("-v", "--verbose", is_flag=True, help="With -r: print all txns.")
@click.option("-y", "--yes", is_flag=True, help="With -r: correct all checksums without asking.")
@click.option(
    "-c", "--chop", "is_chop", is_flag=True, help="Write FILE.choppedZXID, up to the zxid of -z."
)
@click.option("-z", "--zxid", metavar="ZXID", help="With -c: the last zxid, 0x1a or decimal.")
@click.argument("file", type=_PATH)
@reporting(StorageError)
def zk_txn_log_toolkit(
    is_dump: bool,
    recover: bool,
    verbose: bool,
    yes: bool,
    is_chop: bool,
    zxid: str | None,
    file: Path,
) -> None:
    """Print a transaction log, correct its checksums, or cut it after a zxid."""
    del is_dump
    if is_chop != (zxid is not None):
        raise click.UsageError("-c and -z must be used together")
    data = file.read_bytes()
    click.echo(header_line(file, data))
    if zxid is not None:
        path, kept = chop(file, data, _number(zxid))
        click.echo(f"Chopping at {_number(zxid):x} new log has {kept} records: {path}")
        return
    if recover:
        path, mended = mend(file, data, _always if yes else _ask, click.echo, is_verbose=verbose)
        click.echo(f"Recovery file {path} has been written with {mended} fixed CRC error(s)")
        return
    found = dump(file, data, click.echo)
    click.echo(f"EOF reached after {found.txns} txns.")
    if found.torn:
        click.echo(found.torn, err=True)
    sys.exit(1 if found.damaged else 0)


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a zxid such as 0x1a or 26", param_hint="-z"
        ) from None


def _always(line: str) -> bool:
    click.echo(f"CRC FIXED - {line}")
    return True


def _ask(line: str) -> bool:
    click.echo(f"CRC ERROR - {line}")
    while True:
        answer = click.prompt("Would you like to fix it (Yes/No/Abort) ?", prompt_suffix=" ")
        first = answer[:1].upper()
        if first == "A":
            raise StorageError("Recovery aborted: nothing was written.")
        if first in {"Y", "N"}:
            return bool(first == "Y")


@click.command("zkSnapShotToolkit.sh", context_settings=_HELP)
@click.option("-d", "has_data", is_flag=True, help="Print the data of each znode in base64.")
@click.option("-json", "is_json", is_flag=True, help="Print JSON for ncdu.")
@click.argument("file", type=_PATH)
@reporting(StorageError)
def zk_snapshot_toolkit(has_data: bool, is_json: bool, file: Path) -> None:
    """Print the znodes and the sessions of a snapshot."""
    if has_data and is_json:
        raise click.UsageError("-d and -json cannot be used together")
    snapshot = _read(file)
    if is_json:
        for part in ncdu_json(snapshot.tree, int(time.time() * 1000)):
            click.echo(part, nl=False)
        return
    zxids = [zxid for zxid, _ in by_zxid([file.name], "snapshot")]
    for line in detail_lines(snapshot, zxids[0] if zxids else 0, has_data=has_data):
        click.echo(line)


def _read(file: Path) -> Snapshot:
    return read_snapshot(file, file.read_bytes())


@click.command("zkSnapshotComparer.sh", context_settings=_HELP)
@click.option("-l", "--left", required=True, type=_PATH, help="The left snapshot.")
@click.option("-r", "--right", required=True, type=_PATH, help="The right snapshot.")
@click.option(
    "-b",
    "--bytes",
    "size_bytes",
    required=True,
    type=int,
    help="Show changes of more than this number of bytes.",
)
@click.option(
    "-n",
    "--nodes",
    "znodes",
    required=True,
    type=int,
    help="Show changes of more than this number of znodes.",
)
@click.option("-d", "--debug", is_flag=True, help="Show smaller changes, too.")
@click.option("-i", "--interactive", is_flag=True, help="Ask which depth or path to show.")
@reporting(StorageError)
def zk_snapshot_comparer(
    left: Path, right: Path, size_bytes: int, znodes: int, debug: bool, interactive: bool
) -> None:
    """Compare two snapshots, and print the growth depth by depth."""
    sizes = []
    for file in (left, right):
        began = time.perf_counter()
        sizes.append(Sizes.of(_read(file).tree))
        seconds = time.perf_counter() - began
        click.echo(f"Deserialized snapshot in {file.name} in {seconds:f} seconds")
    for found in sizes:
        for line in found.summary():
            click.echo(line)
        click.echo()
    thresholds = Thresholds(size_bytes, znodes, debug or interactive)
    comparison = Comparison(sizes[0], sizes[1], thresholds)
    if interactive:
        _compare_interactively(comparison)
    else:
        _tell_thresholds(thresholds)
        for depth in range(comparison.depths):
            _compare_depth(comparison, depth)
    click.echo("All layers compared.")


def _tell_thresholds(thresholds: Thresholds) -> None:
    click.echo(
        f"Printing analysis for nodes difference larger than {thresholds.size_bytes} bytes or node"
        f" count difference larger than {thresholds.znodes}."
    )


def _compare_depth(comparison: Comparison, depth: int) -> None:
    click.echo(f"Analysis for depth {depth}")
    for line in comparison.depth_lines(depth):
        click.echo(line)


def _compare_interactively(comparison: Comparison) -> None:
    """Show the next depth for an empty line, a depth for its number, the children for a path."""
    depth = 0
    while depth < comparison.depths:
        click.echo(f"Current depth is {depth}")
        click.echo("Return: show this depth. A number: show that depth. A path: show its children.")
        line = sys.stdin.readline()
        if not line:
            return
        asked = line.strip()
        _tell_thresholds(comparison.thresholds)
        if asked.startswith("/"):
            click.echo(f"Analysis for node {asked}")
            for shown in comparison.subtree_lines("" if asked == "/" else asked):
                click.echo(shown)
        elif not asked:
            _compare_depth(comparison, depth)
            depth += 1
        elif asked.isdigit() and int(asked) < comparison.depths:
            depth = int(asked)
            _compare_depth(comparison, depth)
        else:
            click.echo(
                f"Depth must be in range [0, {comparison.depths - 1}]; a path begins with /."
            )
        click.echo()
