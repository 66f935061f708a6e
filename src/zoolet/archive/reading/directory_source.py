"""A data directory as a source of states and txns."""

from collections.abc import Iterator

from zoolet.archive.reading.source import Found, Source, is_before
from zoolet.data.directory_reader import state_of, txns_in
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import PASSED_OVER, AsOf, Recovery


class DirectorySource(Source):
    """The files of a server."""

    def __init__(self, directories: DataDirectories) -> None:
        self._directories = directories

    def state_at(self, as_of: AsOf) -> Recovery:
        """Return the state at a moment; see ``Source``."""
        recovery = state_of(self._directories, as_of)
        # The other notes tell what a starting server would change; here, nothing is changed.
        notes = [note for note in recovery.notes if note.startswith(PASSED_OVER)]
        return recovery._replace(notes=notes)

    def txns(self, since: AsOf, until: AsOf) -> Iterator[Found]:
        """Yield the txns of all logs; see ``Source``."""
        for _, _, txn in txns_in(self._directories):
            if until.zxid is not None and txn.header.zxid > until.zxid:
                return
            if not is_before(txn, since) and until.includes(txn):
                yield txn
