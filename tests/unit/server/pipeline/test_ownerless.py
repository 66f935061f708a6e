"""Ephemerals whose session exists nowhere are deleted at start, by a logged txn."""

from pathlib import Path

import pytest

from tests.support.writer import DISK, SESSION, Writer
from zoolet.data.directory_reader import state_of, txns_in
from zoolet.model.codes import CreateMode, OpCode
from zoolet.storage.files import DataDirectories
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.testing import EmbeddedServer


def directory_with_ephemerals(directory: Path, listed: dict[int, int]) -> DataDirectories:
    """Write a snapshot with the ephemerals of three sessions, of which ``listed`` exist."""
    writer = Writer(directory / "data")
    tree = writer.machine.tree
    writer.create("/kept", "/kept/below")
    writer.create("/kept/e", mode=CreateMode.EPHEMERAL)
    zxid = writer.machine.zxid
    for owner in (SESSION, SESSION + 1, SESSION + 2):
        for number in range(3):
            name = f"/kept/{owner}-{number}"
            tree.create(name, "/kept", b"x", tree.acl_of("/"), owner, -1, zxid, 0)
    path = write_snapshot(DISK, writer.directories.snapshots, Image(zxid, tree, listed))
    assert path.name == f"snapshot.{zxid:x}"
    return writer.directories


@pytest.mark.parametrize(
    "listed", [{}, {SESSION: 60_000}, {SESSION: 60_000, SESSION + 1: 60_000}], ids=len
)
def test_they_are_deleted_before_anyone_is_served(tmp_path: Path, listed: dict[int, int]) -> None:
    directories = directory_with_ephemerals(tmp_path, listed)
    owners = [SESSION, SESSION + 1, SESSION + 2]
    with EmbeddedServer(tmp_path) as server:
        client = server.client()
        client.start()
        left = {name for name in client.get_children("/kept") if "-" in name}
        client.stop()
        client.close()
    assert left == {f"{owner}-{number}" for owner in listed for number in range(3)}
    ended = [
        found.txn.header.client_id
        for found in txns_in(directories)
        if found.txn.header.type == OpCode.CLOSE_SESSION and found.txn.header.client_id in owners
    ]
    assert sorted(ended) == sorted(set(owners) - set(listed))
    # A replay gives the same tree, and there is nothing left to end at the next start.
    tree = state_of(directories).machine.tree
    assert set(tree.ephemerals) == set(listed)


def test_a_directory_without_any_gets_no_txn(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "data")
    writer.create("/e", mode=CreateMode.EPHEMERAL)
    zxid = writer.machine.zxid
    with EmbeddedServer(tmp_path):
        pass
    recovery = state_of(writer.directories)
    assert recovery.machine.zxid == zxid
    assert "/e" in recovery.machine.tree.records
