"""``zoolet data``: the commands for data directories.

Exit statuses: 0 success; 1 damage or a difference was found, or the command failed; 2 wrong usage.
"""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, TypeVar

import click
from rich.console import Console
from rich.progress import track

from zoolet.console.reporting import reporting
from zoolet.data.checking import Finding, check, check_file
from zoolet.data.directory_reader import directories_of, machine_of, state_of
from zoolet.data.json_form import show_file
from zoolet.data.new_directory import export_tree, import_tree, write_data_directory
from zoolet.data.sizes import sizes
from zoolet.model import paths
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.retention import LEAST_SNAPSHOTS, Retention

T = TypeVar("T")

_ERRORS = Console(stderr=True)


def tracked(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """Yield the items, and show the progress on standard error if it is a terminal."""
    return track(
        items, what, total=total, console=_ERRORS, transient=True, disable=not _ERRORS.is_terminal
    )


@click.group("data")
def data() -> None:
    """Inspect data directories and their files; only purge changes an existing directory."""


_PATH = click.Path(readable=False, path_type=Path)
_source = click.argument("source", metavar="DIR", type=_PATH)
_directory = click.argument("directory", metavar="DIR", type=_PATH)
_logs = click.option("--logs", type=_PATH, help="The dataLogDir, if it is not the dataDir.")


@data.command("check")
@_source
@_logs
@reporting(StorageError)
def check_command(source: Path, logs: Path | None) -> None:
    """Read every file of a data directory, and print whether a server starts from the files.

    DIR may also be a single log or snapshot file. The exit status is 0 if a server starts, also if
    a file that it does not need is damaged. For a single file, it is 0 if the file is undamaged.
    """
    if source.is_file():
        findings: Iterable[Finding] = [check_file(source)]
    else:
        findings = check(
            directories_of(source, logs), lambda files: tracked(files, "Reading", len(files))
        )
    finding = None
    for finding in findings:
        click.echo(f"{'ok     ' if finding.is_sound else 'DAMAGED'}  {finding.text}")
    sys.exit(0 if finding is not None and finding.is_sound else 1)


@data.command("dump")
@click.argument("file", type=_PATH)
@reporting(StorageError)
def dump_command(file: Path) -> None:
    """Print the txns of a log, or the sessions and znodes of a snapshot, as JSON lines."""
    for shown in show_file(file):
        click.echo(json.dumps(shown, ensure_ascii=False))


@data.command("du")
@_source
@click.argument("path", default=paths.ROOT)
@click.option(
    "-d", "--depth", default=1, type=click.IntRange(0), help="The number of levels to show [1]."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@_logs
@reporting(StorageError)
def du_command(source: Path, path: str, depth: int, as_json: bool, logs: Path | None) -> None:
    """Print the bytes of data and the number of znodes of a subtree, and of each subtree in it.

    DIR may also be a single snapshot file.
    """
    for size in sizes(machine_of(source, logs).tree, checked_path(path), depth):
        shown = {"path": size.path, "bytes": size.size_bytes, "znodes": size.znodes}
        text = f"{size.size_bytes:>12} {size.znodes:>9} {size.path}"
        click.echo(json.dumps(shown, ensure_ascii=False) if as_json else text)


def checked_path(path: str) -> str:
    """Return the path; raises StorageError if it is not a valid path of a znode."""
    reason = paths.reason_invalid(path)
    if reason is not None:
        raise StorageError(f"{path!r} is not a valid path: {reason}.")
    return path


@data.command("export")
@_directory
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-")
@_logs
@reporting(StorageError)
def export_command(directory: Path, file: IO[str], logs: Path | None) -> None:
    """Write all znodes as JSON lines; UTF-8 data as text, other data in base64."""
    machine = state_of(directories_of(directory, logs)).machine
    count = len(machine.tree)
    export_tree(machine.zxid, machine.tree, file, lambda shown: tracked(shown, "Writing", count))


@data.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.argument("directory", metavar="NEWDIR", type=_PATH)
@reporting(StorageError)
def import_command(file: IO[str], directory: Path) -> None:
    """Create a new data directory from an export."""
    zxid, tree = import_tree(tracked(file, "Reading"), file.name)
    path = write_data_directory(directory, zxid, tree, {})
    click.echo(f"{path}: {len(tree)} znodes")


@data.command("purge")
@_directory
@click.option(
    "--keep",
    metavar="N",
    default=LEAST_SNAPSHOTS,
    show_default=True,
    type=click.IntRange(min=LEAST_SNAPSHOTS),
    help="The number of newest snapshots to keep, with the logs that they need.",
)
@_logs
@reporting(StorageError)
def purge_command(directory: Path, keep: int, logs: Path | None) -> None:
    """Remove old snapshots and logs; a server may be running."""
    purge_and_tell(directories_of(directory, logs), keep)


def purge_and_tell(directories: DataDirectories, keep_snapshots: int) -> None:
    """Remove old files and print a line for each file, as Apache ZooKeeper does."""
    times = dict(_times_of(directories))
    for name in Retention(Disk(), directories, keep_snapshots).purge():
        path, shown = times.get(name, (name, "-"))
        click.echo(f"Removing file: {shown}\t{path}")


def _times_of(directories: DataDirectories) -> Iterator[tuple[str, tuple[Path, str]]]:
    """Yield the name of each file, with its path and the time of its last change."""
    for path in (path for directory in directories for path in directory.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # a server may have removed the file
            moment = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
            yield path.name, (path, moment.isoformat(sep=" ", timespec="seconds"))
