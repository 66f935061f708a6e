"""Compressed snapshots: what was written comes back, and anything else is said to be wrong."""

from pathlib import Path

import pytest

from zoolet.model.acl import OPEN_ACL
from zoolet.model.stat import Stat
from zoolet.state_machine.tree import Tree
from zoolet.storage.compression import Compression, CompressionError, compression_of
from zoolet.storage.disk import Disk
from zoolet.storage.errors import DamagedFileError
from zoolet.storage.snapshots import Image, read_snapshot, write_snapshot

METHODS = list(Compression)


@pytest.mark.parametrize("compression", METHODS)
@pytest.mark.parametrize("pieces", [[], [b""], [b"a"], [b"ab" * 70_000, b"c"]])
def test_what_was_compressed_comes_back(compression: Compression, pieces: list[bytes]) -> None:
    compressor = compression.compressor()
    data = b"".join([*map(compressor.compress, pieces), compressor.flush()])
    assert compression.decompress(data) == b"".join(pieces)


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.SNAPPY])
def test_what_is_cut_or_changed_is_an_error_and_never_another(compression: Compression) -> None:
    compressor = compression.compressor()
    data = compressor.compress(bytes(range(256)) * 300) + compressor.flush()
    for position in range(0, len(data), 7):
        for damaged in (
            data[:position],
            data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :],
        ):
            try:
                compression.decompress(damaged)
            except CompressionError:
                continue
    with pytest.raises(CompressionError):
        compression.decompress(b"neither of them")


@pytest.mark.parametrize("compression", METHODS)
def test_a_snapshot_is_read_as_its_name_says(tmp_path: Path, compression: Compression) -> None:
    tree = Tree.fresh()
    tree.add("/a", b"x" * 10_000, OPEN_ACL, Stat(1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1))
    path = write_snapshot(Disk(), tmp_path, Image(0x1A, tree, {5: 1000}), compression)
    assert path.name == f"snapshot.1a{compression.suffix}"
    assert compression_of(path.name) is compression
    snapshot = read_snapshot(path, path.read_bytes())
    assert snapshot.sessions == {5: 1000}
    assert (found := snapshot.tree.find("/a")) is not None
    assert found.data == b"x" * 10_000
    with pytest.raises(DamagedFileError):
        read_snapshot(path, path.read_bytes()[:-3])
