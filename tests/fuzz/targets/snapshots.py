"""A small snapshot, from which the fuzzer begins."""

from pathlib import Path

from zoolet.model.acl import OPEN_ACL
from zoolet.state_machine.tree import Tree
from zoolet.storage.snapshots import SNAPSHOT_HEADER, Image, write_snapshot
from zoolet.testing.servers.memory_disk import MemoryDisk


def image() -> Image:
    """Return a state with a znode and a session."""
    tree = Tree.fresh()
    tree.create("/a", "/", b"data", OPEN_ACL, 0, -1, 1, 1_700_000_000_000)
    return Image(1, tree, {7: 4000})


def snapshot_file() -> bytes:
    """Return the bytes of a snapshot file."""
    disk, directory = MemoryDisk(), Path("/snapshots")
    disk.make_directory(directory)
    write_snapshot(disk, directory, image())
    (name,) = disk.list_names(directory)
    return disk.read(directory / name)


def streamed_snapshot() -> bytes:
    """Return the bytes of a snapshot as a leader sends them: without header and seals."""
    return b"".join(image().content()).removeprefix(SNAPSHOT_HEADER)
