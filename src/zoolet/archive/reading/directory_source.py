"""A data directory as a source of states and txns."""

from collections.abc import Iterator

from zoolet.archive.format.clock_steps import Span, doubt_about, doubt_text
from zoolet.archive.reading.source import Found, Source, is_before
from zoolet.data.directory_reader import state_of, txns_in
from zoolet.data.json_form import show_time
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories, by_zxid
from zoolet.storage.recovery import PASSED_OVER, AsOf, Recovery


class DirectorySource(Source):
    """The files of a server."""

    def __init__(self, directories: DataDirectories) -> None:
        self._directories = directories

    def state_at(self, as_of: AsOf) -> Recovery:
        """Return the state at a moment; see ``Source``."""
        recovery = state_of(self._directories, as_of)
        if as_of.time_ms is not None:
            self._check_unique(as_of.time_ms)
        # The other notes tell what a starting server would change; here, nothing is changed.
        notes = [note for note in recovery.notes if note.startswith(PASSED_OVER)]
        zxid, end = as_of.zxid, recovery.machine.zxid
        if zxid is not None and end < zxid and self._ends_before(zxid):
            notes.append(f"zxid 0x{zxid:x} is after the newest txn 0x{end:x} of the directory.")
        return recovery._replace(notes=notes)

    def _check_unique(self, time_ms: int) -> None:
        """Raise StorageError if the clock was set back, and a time is not unique."""
        if (doubt := doubt_about(self._spans(), time_ms)) is not None:
            raise StorageError(f"the time {show_time(time_ms)} is not unique: {doubt_text(doubt)}")

    def _ends_before(self, zxid: int) -> bool:
        snapshots = by_zxid(Disk().list_names(self._directories.snapshots), "snapshot")
        return all(at < zxid for at, _ in snapshots) and all(
            txn.header.zxid < zxid for _, _, txn in txns_in(self._directories)
        )

    def _spans(self) -> Iterator[Span]:
        last_zxid = 0
        for _, _, txn in txns_in(self._directories):
            header = txn.header
            yield Span(header.time_ms, header.time_ms, last_zxid)
            last_zxid = header.zxid

    def txns(self, since: AsOf, until: AsOf) -> Iterator[Found]:
        """Yield the txns of all logs; see ``Source``."""
        for _, _, txn in txns_in(self._directories):
            if until.zxid is not None and txn.header.zxid > until.zxid:
                return
            if not is_before(txn, since) and until.includes(txn):
                yield txn
