"""A file system that fills up: the server ends and says why; what was acknowledged is there."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.support.rawclient import RawClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.testing import ServerProcess
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

SIZE_MB = 4
DATA = b"x" * 10_000
RESERVE_BYTES = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "zoolet-test", str(directory)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system: run the tests as root")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_ends_the_server_and_loses_nothing(small_disk: Path) -> None:
    reserve = small_disk / "reserve"
    reserve.write_bytes(bytes(RESERVE_BYTES))
    acknowledged: list[str] = []
    with ServerProcess(small_disk / "server", {"preAllocSize": 64}) as server:
        with (
            RawClient(server.port) as client,
            pytest.raises((EOFError, ConnectionError)),
        ):
            fill(client, acknowledged)
        assert server.wait() == 1
        assert "No space left on device" in server.log
        assert "Free disk space or repair the disk, then start the server again" in server.log
        reserve.unlink()
        server.start()
        kazoo = KazooClient(hosts=server.hosts)
        kazoo.start()
        there = {f"/{name}" for name in kazoo.get_children("/")}
        assert acknowledged
        assert set(acknowledged) <= there
        assert all(kazoo.get(path)[0] == DATA for path in acknowledged)
        kazoo.stop()
        kazoo.close()


def fill(client: RawClient, acknowledged: list[str]) -> None:
    """Create znodes, noting those that are acknowledged, until the server ends."""
    client.connect()
    while True:
        path = f"/n{len(acknowledged):05d}"
        body = pack_ustring(path) + pack_buffer(DATA) + pack_acl(OPEN_ACL) + INT.pack(0)
        assert client.request(OpCode.CREATE, body).err == 0
        acknowledged.append(path)
