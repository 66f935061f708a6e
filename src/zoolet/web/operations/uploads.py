"""Uploaded exports: files that wait until the user confirms their import.

Invariants: only the visitor who has sent a file finds it; the size and the number of files are
bounded; a file is checked completely before anybody can import it, with bounded memory.
"""

import asyncio
import errno
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from zoolet.client.export_files import imported_znodes
from zoolet.client.transfers import is_ephemeral
from zoolet.exports.lines import ExportedZnode, ExportError
from zoolet.web.access.visitors import Visitor
from zoolet.web.operations.operation import Operation, OperationError
from zoolet.web.operations.registry import MOST_CHARACTERS, TooManyOperationsError

MOST_BYTES: Final = 256 << 20
"""Most bytes of an uploaded file."""

MOST_LINE: Final = 8 << 20
"""Most characters of a line: a znode of 1 MiB, whatever its bytes are."""

MOST_OF_USER: Final = 2
"""Most files of a visitor; a new one replaces the oldest."""

MOST_FILES: Final = 8
"""Most files of all visitors."""

KEPT_S: Final = 3600.0
"""A file is deleted after this time, if nobody imports it."""

CHUNK_TIMEOUT_S: Final = 60.0
"""The longest wait for the next part of a file."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FIRST_PATHS: Final = 5
_SHOWN: Final = 1000
_STEP: Final = 1000
_STEP_BYTES: Final = 4 << 20
_WRITE_BYTES: Final = 1 << 20


class TooLargeError(OperationError):
    """A file is larger than the page accepts; the message says what to do."""


class NoRoomError(OperationError):
    """There is no room for a file; the message says what to do."""


@dataclass(slots=True)
class Upload:
    """A file.

    Attributes:
        id: identifies it; nobody can guess it.
        owner: the visitor who has sent it.
        cluster: the name of the cluster to which it belongs.
        target: the path of the root of the import.
        file: where it is.
        size_bytes: its size.
        made_s: when it came, on the monotonic clock.
        znodes: the number of its znodes.
        ephemerals: how many of them are ephemerals.
        data_bytes: the size of their data.
        first_paths: the first paths that the import writes.
        operation: the import; None if it has not begun.
    """

    id: str
    owner: tuple[str, str] = field(repr=False)
    cluster: str
    target: str
    file: Path
    made_s: float
    size_bytes: int = 0
    znodes: int = 0
    ephemerals: int = 0
    data_bytes: int = 0
    first_paths: list[str] = field(default_factory=list)
    operation: Operation | None = None
    is_complete: bool = False

    @property
    def is_in_use(self) -> bool:
        """Whether it still comes, or is imported."""
        return not self.is_complete or (self.operation is not None and self.operation.is_running)


class Uploads:
    """The files of all visitors."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._uploads: dict[str, Upload] = {}
        self._checking = asyncio.Semaphore(1)

    async def receive(
        self, visitor: Visitor, cluster: str, target: str, chunks: AsyncIterator[bytes]
    ) -> Upload:
        """Write a file, and check it.

        Raises:
            TooLargeError: the file is too large.
            TooManyOperationsError: there are too many files.
            NoRoomError: the disk is full.
            ExportError: the file is not an export.
            OSError: the file cannot be written.
            TimeoutError: the next part of the file did not come in time.
        """
        if len(target) > MOST_CHARACTERS:
            raise OperationError("the path is too long for this page: use zoolet shell")
        upload = self._new(visitor, cluster, target)
        try:
            await self._write(upload, chunks)
            async with self._checking:
                await _check(upload)
        except BaseException as error:
            self.drop(upload)
            if isinstance(error, OSError) and error.errno in _FULL:
                raise NoRoomError(
                    f"the disk of the page is full: make room in {upload.file.parents[1]}, or start"
                    " zoolet web with another TMPDIR"
                ) from None
            raise
        if upload.id not in self._uploads:
            self.drop(upload)
            raise OperationError("the login has ended: log in, and send the file again")
        upload.is_complete = True
        return upload

    def find(self, visitor: Visitor, cluster: str, key: str) -> Upload | None:
        """Return a file of this visitor that nobody imports yet; None if there is none."""
        found = self._uploads.get(key)
        if found is None or found.owner != visitor.owner or found.cluster != cluster:
            return None
        return found if found.is_complete and found.operation is None else None

    def drop(self, upload: Upload) -> None:
        """Delete a file."""
        self._uploads.pop(upload.id, None)
        with suppress(FileNotFoundError):
            upload.file.unlink()

    def end(self, login: str) -> None:
        """Delete the files of a login that has ended."""
        for upload in list(self._uploads.values()):
            if upload.owner[1] == login:
                self.drop(upload)

    def forget_old(self) -> None:
        """Delete the files that were imported, and those that nobody has imported in time."""
        for upload in list(self._uploads.values()):
            is_old = self._now_s() - upload.made_s > KEPT_S or upload.operation is not None
            if is_old and not upload.is_in_use:
                self.drop(upload)

    def close(self) -> None:
        """Delete all files."""
        self._uploads.clear()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def _new(self, visitor: Visitor, cluster: str, target: str) -> Upload:
        self.forget_old()
        own = [found for found in self._uploads.values() if found.owner == visitor.owner]
        for found in own[: max(0, len(own) - MOST_OF_USER + 1)]:
            if found.is_in_use:
                raise TooManyOperationsError(
                    f"{MOST_OF_USER} of your files come or are imported: wait until one has ended"
                )
            self.drop(found)
        if len(self._uploads) >= MOST_FILES:
            raise TooManyOperationsError(
                f"{MOST_FILES} files wait for their import: try again later"
            )
        # Programs like systemd-tmpfiles delete old directories.
        if self._directory is not None and not Path(self._directory.name).is_dir():
            self._directory.cleanup()
            self._directory = None
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="zoolet-web-")
        key = secrets.token_urlsafe(12)
        file = Path(self._directory.name) / key
        upload = Upload(key, visitor.owner, cluster, target, file, self._now_s())
        self._uploads[key] = upload
        return upload

    async def _write(self, upload: Upload, chunks: AsyncIterator[bytes]) -> None:
        descriptor = os.open(upload.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as output:  # noqa: PTH123 -- a descriptor
            waiting = bytearray()
            while True:
                try:
                    async with asyncio.timeout(CHUNK_TIMEOUT_S):
                        chunk = await anext(chunks, None)
                except TimeoutError:
                    raise TimeoutError("the file has stopped coming: send it again") from None
                if chunk is None:
                    break
                waiting += chunk
                upload.size_bytes += len(chunk)
                if upload.size_bytes > MOST_BYTES:
                    raise TooLargeError(
                        f"the file is larger than {MOST_BYTES >> 20} MiB: import it with zoolet"
                        " shell, or export parts of the subtree"
                    )
                if len(waiting) >= _WRITE_BYTES:
                    await asyncio.to_thread(output.write, bytes(waiting))
                    waiting.clear()
            await asyncio.to_thread(output.write, bytes(waiting))


def znodes_of(upload: Upload) -> Generator[ExportedZnode]:
    """Yield the znodes that the import of a file writes; raises ExportError."""
    try:
        yield from imported_znodes(upload.file, upload.target, most_characters=MOST_LINE)
    except ExportError as error:
        text = str(error).removeprefix(f"{upload.file}:")
        raise ExportError(f"line {text}") from None
    except OSError as error:
        if error.errno != errno.EILSEQ:
            raise
        raise ExportError("the file is not UTF-8, so it is not an export") from None


async def _check(upload: Upload) -> None:
    """Read all lines, in steps on a thread."""
    znodes = znodes_of(upload)
    try:
        while await asyncio.to_thread(_check_some, upload, znodes):
            pass
    finally:
        znodes.close()
    if not upload.znodes:
        raise ExportError("the export has no znodes")


def _check_some(upload: Upload, znodes: Iterator[ExportedZnode]) -> bool:
    """Count the next znodes; return whether there may be more."""
    size_bytes = 0
    znode = None
    for _ in range(_STEP):
        znode = next(znodes, None)
        if znode is None:
            break
        upload.znodes += 1
        upload.ephemerals += is_ephemeral(znode)
        size_bytes += len(znode.data or b"")
        if len(upload.first_paths) < _FIRST_PATHS:
            upload.first_paths.append(znode.path[:_SHOWN])
        if size_bytes > _STEP_BYTES:
            break
    upload.data_bytes += size_bytes
    return znode is not None
