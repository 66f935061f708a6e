"""What pages know of batches: the names of jobs that have ended, so they read only new ones.

The names are kept for a connection: another login reads them with its own permissions.
"""

from collections import OrderedDict

from zoolet.jobs import BatchReader


class BatchReaders:
    """Readers of batches that were looked at lately.

    Invariant: together they keep at most `most_names` names of jobs, besides those of the last.
    """

    def __init__(self, most_names: int = 500_000) -> None:
        self._most_names = most_names
        self._readers: OrderedDict[tuple[int, str, str], BatchReader] = OrderedDict()

    def of(self, number: int, path: str, name: str) -> BatchReader:
        """Return the reader of a batch of the queue at ``path``, for the connection of a number."""
        key = (number, path, name)
        found = self._readers.pop(key, None) or BatchReader(name)
        self._readers[key] = found
        return found

    def limit(self) -> None:
        """Forget the readers that were used least recently, if there are too many names."""
        size = sum(reader.size + 1 for reader in self._readers.values())
        while size > self._most_names and len(self._readers) > 1:
            size -= self._readers.popitem(last=False)[1].size + 1

    def forget(self, number: int) -> None:
        """Forget what a connection that is closed has read."""
        for key in [key for key in self._readers if key[0] == number]:
            del self._readers[key]
