"""The places in which objects are stored: a folder, or a prefix in an object store.

Invariant of both: a reader sees all of an object or nothing of it. Objects are bytes here; the
format is not known.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from zoolet.archive.errors import ArchiveError
from zoolet.console.extras import EXTRAS, missing

_BLOCK_BYTES: Final = 1 << 20
_UNFINISHED: Final = ".unfinished-"
"""The prefix of the name of a file that is being written."""

_AT_ONCE_BYTES: Final = 16 << 20
"""Up to this size an object is written with one request; above it in several parts."""

_CONNECT_TIMEOUT_S: Final = 10
_READ_TIMEOUT_S: Final = 30


class Place(Protocol):
    """Stores objects by their names. The methods raise OSError."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the sizes of all objects whose names begin with ``prefix``, by name."""

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of an object; raises FileNotFoundError if there is none."""

    def write(self, name: str, blocks: Iterable[bytes], *, replaces: bool = True) -> None:
        """Write an object, which is durable when the call returns.

        Raises FileExistsError if not ``replaces`` and the object exists.
        """

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""

    def modified_ms(self, name: str) -> int:
        """Return when the object was written, by the clock of the place; in ms since the epoch."""

    def remove_unfinished(self) -> None:
        """Remove what killed processes have written in part."""


class Folder:
    """A folder of a file system."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the sizes of the files, by name."""
        above = self._path / prefix.rpartition("/")[0]
        found = {}
        for directory, _, files in os.walk(above, onerror=_raise_unless_absent):
            for file in files:
                path = Path(directory, file)
                name = path.relative_to(self._path).as_posix()
                if name.startswith(prefix) and not file.startswith(_UNFINISHED):
                    with contextlib.suppress(FileNotFoundError):  # it may be deleted meanwhile
                        found[name] = path.stat().st_size
        return found

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a file."""
        with (self._path / name).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    def write(self, name: str, blocks: Iterable[bytes], *, replaces: bool = True) -> None:
        """Write a file under another name, sync it, and give it its name."""
        path = self._path / name
        self._make_directory(path.parent)
        unfinished = path.with_name(f"{_UNFINISHED}{path.name}-{secrets.token_hex(4)}")
        try:
            with unfinished.open("xb") as file:
                for block in blocks:
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            if replaces:
                unfinished.replace(path)
            else:
                path.hardlink_to(unfinished)  # fails if the path exists
        finally:
            unfinished.unlink(missing_ok=True)
        _sync_directory(path.parent)

    def _make_directory(self, path: Path) -> None:
        if path.is_dir():
            return
        path.mkdir(parents=True, exist_ok=True)
        while path not in {self._path.parent, path.parent}:
            path = path.parent
            _sync_directory(path)

    def delete(self, name: str) -> None:
        """Delete a file."""
        (self._path / name).unlink(missing_ok=True)

    def modified_ms(self, name: str) -> int:
        """Return when the file was written."""
        return (self._path / name).stat().st_mtime_ns // 1_000_000

    def remove_unfinished(self) -> None:
        """Remove the files without a final name."""
        for path in self._path.rglob(f"{_UNFINISHED}*"):
            path.unlink(missing_ok=True)


def _raise_unless_absent(error: OSError) -> None:
    """Raise the error of a folder that cannot be listed: its objects exist nevertheless."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class ObjectStore:
    """A prefix in an object store, through fsspec."""

    def __init__(self, file_system: Any, root: str) -> None:
        """Store objects below ``root``; ``file_system`` is one of fsspec."""
        self._fs = file_system
        self._root = root.rstrip("/")

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the sizes of the objects, by name."""
        above = f"{self._root}/{prefix}".rpartition("/")[0]
        with _os_errors():
            self._fs.invalidate_cache()
            try:
                found: Mapping[str, Mapping[str, Any]] = self._fs.find(above, detail=True)
            except FileNotFoundError:
                return {}
        # Without objects, some file systems return the path itself.
        start = f"{self._root}/{prefix}".lstrip("/")
        root_length = len(start) - len(prefix)
        return {
            path.lstrip("/")[root_length:]: int(info["size"] or 0)
            for path, info in found.items()
            if path.lstrip("/").startswith(start) and info["type"] == "file"
        }

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of an object."""
        with _os_errors():
            self._fs.invalidate_cache()  # the file system may know an older size of the object
            with self._fs.open(f"{self._root}/{name}", "rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block

    def write(self, name: str, blocks: Iterable[bytes], *, replaces: bool = True) -> None:
        """Write an object; a large one in several parts, which become an object at the end."""
        path = f"{self._root}/{name}"
        coming = iter(blocks)
        first = bytearray()
        for block in coming:
            first += block
            if len(first) > _AT_ONCE_BYTES:
                break
        else:
            with _os_errors():
                mode = "overwrite" if replaces else "create"
                self._fs.pipe_file(path, bytes(first), mode=mode)
            return
        from fsspec.spec import AbstractBufferedFile  # noqa: PLC0415 -- as in place_of

        with _os_errors():
            # Without autocommit, the object does not exist before commit.
            file = self._fs.open(path, "wb", block_size=_AT_ONCE_BYTES, autocommit=False)
            try:
                file.write(bytes(first))
                for block in coming:
                    file.write(block)
                file.close()
            except BaseException:
                file.discard()
                if isinstance(file, AbstractBufferedFile):
                    file.closed = True  # its destructor would upload the rest
                raise
            file.commit()

    def delete(self, name: str) -> None:
        """Delete an object."""
        with _os_errors(), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")

    def modified_ms(self, name: str) -> int:
        """Return when the object was written."""
        with _os_errors():
            self._fs.invalidate_cache()
            return int(self._fs.modified(f"{self._root}/{name}").timestamp() * 1000)

    def remove_unfinished(self) -> None:
        """Do nothing: the store's own rules remove uploads that were never completed."""


_NEEDS_USER: Final = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
        *(errno.ELOOP, errno.ENAMETOOLONG),
        # What s3fs makes of refused requests: a wrong name or address (EINVAL), a function that the
        # store does not have (ENOSYS), a bucket in another region (78).
        *(errno.EINVAL, errno.ENOSYS, 78),
    )
)
_NEEDS_USER_LIBRARY: Final = ("Credential", "Authentication", "ParamValidation", "NoRegion")
"""Parts of the names of the libraries' errors."""


def needs_user(error: OSError) -> bool:
    """Return whether only a user can correct the cause of an error, so repetition does not help."""
    if error.errno in _NEEDS_USER:
        return True
    if isinstance(error, (PermissionError, FileNotFoundError, NotADirectoryError)):
        return True  # the libraries make such errors without a number
    cause = error.__cause__
    name = "" if cause is None else type(cause).__name__
    return isinstance(cause, ValueError) or any(part in name for part in _NEEDS_USER_LIBRARY)


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Raise an OSError for the errors of the store's library, which has its own types."""
    try:
        yield
    except (OSError, ArchiveError, GeneratorExit):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def place_of(url: str) -> Place:
    """Return the place that a URL names; raises ArchiveError.

    The library of an object store reads its settings from the environment: AWS_ENDPOINT_URL,
    AWS_ACCESS_KEY_ID and others for S3.
    """
    protocol, separator, rest = url.partition("://")
    if not separator:
        return Folder(Path(url).absolute())
    if protocol == "file":
        return Folder(Path(rest).absolute())
    from fsspec.core import url_to_fs  # noqa: PLC0415 -- a folder does not need it

    # fsspec would return an earlier file system of this process, with an earlier environment.
    options: dict[str, Any] = {"skip_instance_cache": True}
    if protocol in {"s3", "s3a"}:
        retries = {"max_attempts": 1}  # the archiver itself tries again
        timeouts = {"connect_timeout": _CONNECT_TIMEOUT_S, "read_timeout": _READ_TIMEOUT_S}
        options["config_kwargs"] = {**timeouts, "retries": retries}
        options["use_listings_cache"] = False
    try:
        file_system, root = url_to_fs(url, **options)
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        advice = missing(package) if package in EXTRAS else None
        raise ArchiveError(f"{url}: {advice or error}") from error
    except ValueError as error:
        raise ArchiveError(
            f"{url} is not the URL of an archive: {error}. Name a folder, or a URL like"
            " s3://BUCKET/PREFIX."
        ) from error
    return ObjectStore(file_system, root)
