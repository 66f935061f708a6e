"""The objects of an archive: content in, content out, with a limit for the bytes per second."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from zoolet.archive.errors import AbsentObjectError
from zoolet.archive.format.encryption import Key
from zoolet.archive.format.names import IDENTITY, OWNERS
from zoolet.archive.format.objects import Checksum, decode_object, encode_object
from zoolet.archive.store.places import Place, place_of

_IN_MEMORY_BYTES: Final = 8 << 20
_ALLOWANCE_S: Final = 1.0


class Limiter:
    """Delays the upload, so that it has at most a number of bytes per second in the long run."""

    def __init__(self, bytes_per_s: int) -> None:
        """``bytes_per_s`` 0 means no limit."""
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at_s = time.monotonic()

    def delay_s(self, size_bytes: int) -> float:
        """Return after how many seconds ``size_bytes`` more bytes may be sent."""
        if not self._bytes_per_s:
            return 0.0
        with self._lock:
            now_s = time.monotonic()
            # Bytes that were not used in the past can be used later for this time only.
            begin_s = max(self._free_at_s, now_s - _ALLOWANCE_S)
            self._free_at_s = begin_s + size_bytes / self._bytes_per_s
            return max(0.0, self._free_at_s - now_s)


class Store:
    """The objects of one archive. Several threads may use it.

    The methods raise OSError if the place fails, DamagedObjectError if an object is damaged, and
    ArchiveError if the key is missing.

    Attributes:
        url: where the objects are.
        key: encrypts new objects and decrypts encrypted ones; None without encryption.
        uploaded_bytes: the number of bytes that were written.
        pause: waits for a number of seconds because of the limit; it may end the upload with an
            exception.
    """

    def __init__(
        self,
        url: str,
        key: Key | None = None,
        limit_bytes_per_s: int = 0,
        place: Place | None = None,
    ) -> None:
        """Use the place that the URL names; nothing is read or written yet.

        Raises ArchiveError if the URL is not one of a supported store.
        """
        self.url = url
        self.key = key
        self.uploaded_bytes = 0
        self.pause: Callable[[float], None] = time.sleep
        self._place = place if place is not None else place_of(url)
        self._limiter = Limiter(limit_bytes_per_s)

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the objects that begin with ``prefix``, sorted."""
        return sorted(self._place.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the stored sizes of the same objects in bytes, by name."""
        return self._place.sizes(prefix)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield the content of an object; each piece has at most 1 MiB.

        Nothing is yielded before the checksum of the whole object was compared: until then, a large
        object is in a temporary file.
        """
        checksum = Checksum(name)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as copy:
            try:
                for block in self._place.blocks(name):
                    checksum.add(block)
                    copy.write(block)
            except FileNotFoundError as error:
                raise AbsentObjectError(name) from error
            checksum.check()
            copy.seek(0)
            yield from decode_object(name, copy.read, self.key)

    def read(self, name: str) -> bytes:
        """Return the content of a small object."""
        return b"".join(self.pieces(name))

    def write(self, name: str, pieces: Iterable[bytes], *, replaces: bool = True) -> None:
        """Write an object; it is durable when the call returns.

        The limit does not delay the small objects of owners: they show that an archiver is alive.
        Raises FileExistsError if not ``replaces`` and the object exists.
        """
        key = None if name == IDENTITY else self.key
        is_limited = not name.startswith(OWNERS)
        blocks = self._sent(encode_object(name, pieces, key), is_limited=is_limited)
        self._place.write(name, blocks, replaces=replaces)

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        self._place.delete(name)

    def modified_ms(self, name: str) -> int:
        """Return when an object was written, by the clock of the store."""
        return self._place.modified_ms(name)

    def remove_unfinished(self) -> None:
        """Remove what killed archivers have written in part. Only the owner may call this."""
        self._place.remove_unfinished()

    def _sent(self, blocks: Iterator[bytes], *, is_limited: bool) -> Iterator[bytes]:
        for block in blocks:
            if is_limited and (delay_s := self._limiter.delay_s(len(block))):
                self.pause(delay_s)
            self.uploaded_bytes += len(block)
            yield block
