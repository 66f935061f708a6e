"""Checks of a data directory: of each file, and of the state that a server would start with."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from zoolet.data.directory_reader import state_of
from zoolet.data.json_form import is_log
from zoolet.model.txns import Txn
from zoolet.storage.disk import Disk
from zoolet.storage.errors import DamagedFileError, StorageError
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.recovery import hides_nothing
from zoolet.storage.repeated_txns import is_too_late
from zoolet.storage.snapshots import read_snapshot
from zoolet.storage.txn_log import read_records

Track = Callable[[list[Path]], Iterable[Path]]
"""Yields the files that it is given, and shows the progress."""


class Finding(NamedTuple):
    """The result of checking a file, or all files together.

    Attributes:
        is_sound: whether the check found no damage.
        text: the description, for people.
    """

    is_sound: bool
    text: str


def check(directories: DataDirectories, track: Track) -> Iterator[Finding]:
    """Yield a finding for each file; the last finding says whether a server starts from them.

    A server also starts if a file that it does not need is damaged.
    """
    snapshots = [
        directories.snapshots / name
        for _, name in by_zxid(_names(directories.snapshots), "snapshot")
    ]
    names = by_zxid(_names(directories.logs), "log")
    logs = [directories.logs / name for _, name in names]
    next_zxids = dict(zip(logs, [*(zxid for zxid, _ in names[1:]), None], strict=False))
    for path in track(snapshots + logs):
        if path in next_zxids:
            yield _check_log(path, next_zxids[path])
        else:
            yield _check_snapshot(path)
    yield _check_whole(directories)


def check_file(path: Path) -> Finding:
    """Return the finding for a single log or snapshot file."""
    return _check_log(path, None) if is_log(path) else _check_snapshot(path)


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _check_snapshot(path: Path) -> Finding:
    try:
        snapshot = read_snapshot(path, path.read_bytes())
    except DamagedFileError as error:
        return Finding(False, str(error))
    except OSError as error:
        return Finding(False, f"{path}: {error.strerror}.")
    text = f"{path}: {len(snapshot.tree)} znodes, {len(snapshot.sessions)} sessions"
    if snapshot.open_acls:
        text += f"; {len(snapshot.open_acls)} of the znodes have ACLs that only the logs contain"
    return Finding(True, text)


def _check_log(path: Path, next_zxid: int | None) -> Finding:
    """Check a log; ``next_zxid`` is the zxid of the next log, None if there is none."""
    found = _Txns()
    try:
        with Disk().open(path) as log:
            try:
                for _, txn in read_records(path, log):
                    found.add(txn)
            except DamagedFileError as error:
                if not hides_nothing(log, error.offset, found.last, next_zxid):
                    return Finding(False, f"{error} Before it: {found}.")
                does = "truncates the log there" if next_zxid is None else "passes over it"
                return Finding(
                    True,
                    f"{path}: {found}. At byte {error.offset} begins a write"
                    f" that was never finished: a starting server {does}",
                )
    except StorageError as error:
        return Finding(False, f"{error} Before it: {found}.")
    except OSError as error:
        return Finding(False, f"{path}: {error.strerror}.")
    return Finding(True, f"{path}: {found}")


@dataclass(slots=True)
class _Txns:
    """The txns of a log: their number, the first and the highest zxid, and how many come again."""

    count: int = 0
    first: int = 0
    last: int = 0
    again: int = 0

    def add(self, txn: Txn) -> None:
        if is_too_late(txn, self.last):
            self.again += 1
            return
        self.count, self.last = self.count + 1, txn.header.zxid
        self.first = self.first or self.last

    def __str__(self) -> str:
        if not self.count:
            return "no txn"
        again = f", and {self.again} txns again" if self.again else ""
        return f"{self.count} txns, 0x{self.first:x} to 0x{self.last:x}{again}"


def _check_whole(directories: DataDirectories) -> Finding:
    try:
        recovery = state_of(directories)
    except StorageError as error:
        return Finding(False, f"A server does not start from these files: {error}")
    machine = recovery.machine
    text = (
        f"A server starts from these files with {len(machine.tree)} znodes and"
        f" {len(machine.sessions)} sessions, at zxid 0x{machine.zxid:x}."
    )
    return Finding(True, "".join([text, *(f"\n         It warns: {n}" for n in recovery.notes)]))
