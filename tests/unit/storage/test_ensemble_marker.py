"""The marker keeps a server from a directory whose data were given to an ensemble."""

import asyncio
from pathlib import Path

import pytest

from zoolet.server.service import Server
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.storage.disk import Disk
from zoolet.storage.ensemble_marker import (
    MARKER_NAME,
    Marker,
    check_not_marked,
    read_marker,
    remove_marker,
    write_marker,
)
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories

MARKER = Marker(0x1A, 3, "2026-11-29 18:00:00+00:00", ("/e/1", "/e/two words"))


@pytest.fixture
def directories(tmp_path: Path) -> DataDirectories:
    found = DataDirectories.of(tmp_path / "my data")
    found.prepare(Disk())
    return found


def test_a_marker_is_read_as_it_was_written(directories: DataDirectories) -> None:
    assert read_marker(Disk(), directories) is None
    write_marker(Disk(), directories, MARKER)
    assert read_marker(Disk(), directories) == MARKER
    assert Disk().list_names(directories.snapshots) == [MARKER_NAME]
    remove_marker(Disk(), directories)
    remove_marker(Disk(), directories)
    assert read_marker(Disk(), directories) is None
    check_not_marked(Disk(), directories)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"zxid": 1}',
        b"null",
        b'{"zxid": "1", "epoch": 1e999, "members": []}',
        b"[" * 9999,
    ],
)
def test_a_damaged_marker_is_a_marker(directories: DataDirectories, content: bytes) -> None:
    (directories.snapshots / MARKER_NAME).write_bytes(content)
    assert read_marker(Disk(), directories) == Marker(0, 0, "", ())
    with pytest.raises(StorageError, match="given to the members of an ensemble"):
        check_not_marked(Disk(), directories)


def test_a_server_refuses_a_marked_directory(directories: DataDirectories) -> None:
    write_marker(Disk(), directories, MARKER)
    data_dir = directories.snapshots.parent
    config = parse_config(
        f"dataDir={data_dir}\nclientPort=0\nadmin.enableServer=false\n", Path("zoo.cfg")
    )

    async def start() -> None:
        async with Server(config, owns_process=False):
            raise AssertionError("the server has started")

    with pytest.raises(StorageError) as raised:
        asyncio.run(start())
    message = str(raised.value)
    assert "(/e/1, /e/two words)" in message
    assert message.endswith(f"run: zoolet ensemble undo '{data_dir}'")
    assert Disk().list_names(directories.snapshots) == [MARKER_NAME]
    assert Disk().list_names(data_dir) == ["version-2"]
