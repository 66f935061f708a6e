"""Objects in a folder and in an object store: complete or absent, exclusive, found if damaged."""

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from zoolet.archive.errors import ArchiveError, DamagedObjectError
from zoolet.archive.format.encryption import Key
from zoolet.archive.store.places import place_of
from zoolet.archive.store.store import Store

KEY = Key("0123456789abcdef", bytes(range(32)))
NAME = "owners/0000000001"


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty place."""
    return str(tmp_path / "a" / "b") if request.param == "folder" else f"memory://{tmp_path}"


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("size_bytes", [0, 100, 17 << 20])
def test_a_content_comes_back(url: str, key: Key | None, size_bytes: int) -> None:
    store = Store(url, key)
    content = random.Random(1).randbytes(size_bytes)
    store.write(NAME, [content[:50], content[50:]])
    assert store.read(NAME) == content
    assert store.names() == [NAME]
    assert store.sizes()[NAME] == store.uploaded_bytes
    assert store.names("txns/") == []


def test_an_exclusive_write_succeeds_once(url: str) -> None:
    store = Store(url)
    store.write(NAME, [b"first"], replaces=False)
    with pytest.raises(FileExistsError):
        store.write(NAME, [b"second"], replaces=False)
    assert store.read(NAME) == b"first"
    store.write(NAME, [b"third"])
    assert store.read(NAME) == b"third"


def test_an_interrupted_write_leaves_nothing(url: str) -> None:
    store = Store(url)

    def pieces() -> Iterator[bytes]:
        yield random.Random(1).randbytes(1 << 20)
        raise OSError(5, "the source fails")

    with pytest.raises(OSError, match="the source fails"):
        store.write(NAME, pieces())
    assert store.names() == []


def test_a_deleted_object_does_not_exist(url: str) -> None:
    store = Store(url)
    store.write(NAME, [b"x"])
    assert store.modified_ms(NAME) > 0
    store.delete(NAME)
    store.delete(NAME)
    assert store.names() == []
    with pytest.raises(DamagedObjectError, match="does not exist"):
        store.read(NAME)


def test_each_changed_byte_of_a_file_is_found(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write(NAME, [b"content"])
    path = tmp_path / NAME
    data = path.read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x80
        path.write_bytes(changed)
        with pytest.raises(DamagedObjectError):
            store.read(NAME)


def test_swapped_objects_are_found(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    other = "owners/0000000002"
    store.write(NAME, [b"first"])
    store.write(other, [b"second"])
    (tmp_path / NAME).rename(tmp_path / "x")
    (tmp_path / other).rename(tmp_path / NAME)
    (tmp_path / "x").rename(tmp_path / other)
    for name in (NAME, other):
        with pytest.raises(DamagedObjectError, match="another name"):
            store.read(name)


def test_unfinished_files_are_no_objects(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write(NAME, [b"content"])
    (tmp_path / "owners" / ".unfinished-x").write_bytes(b"half")
    assert store.names() == [NAME]
    store.remove_unfinished()
    assert [path.name for path in (tmp_path / "owners").iterdir()] == [NAME.rpartition("/")[2]]


def test_a_folder_is_named_by_a_path_or_a_url(tmp_path: Path) -> None:
    Store(str(tmp_path)).write(NAME, [b"content"])
    assert Store(f"file://{tmp_path}").read(NAME) == b"content"


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "http2://x"])
def test_an_unknown_protocol_is_refused(url: str) -> None:
    with pytest.raises(ArchiveError, match="not the URL"):
        place_of(url)


def test_the_package_of_a_store_is_named() -> None:
    with pytest.raises(ArchiveError, match="gcsfs"):
        place_of("gs://bucket/x")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = Store(str(tmp_path))
    assert Store(str(tmp_path / "absent")).names() == []
    store.write(NAME, [b"x"])
    scan = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "owners":
            raise OSError(number, os.strerror(number), path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OSError, match="owners") as raised:
        store.names()
    assert raised.value.errno == number


def test_an_object_store_uses_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that of an earlier store with the same URL."""
    monkeypatch.setattr(MemoryFileSystem, "cachable", True)
    made: list[object] = []
    monkeypatch.setattr(MemoryFileSystem, "__init__", lambda self, **_: made.append(self))
    place_of("memory://bucket")
    place_of("memory://bucket")
    assert len(made) == 2
