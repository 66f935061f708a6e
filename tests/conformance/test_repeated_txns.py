"""A log with repeated txns: what Apache ZooKeeper reads from it, and what zoolet reads."""

from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.support.writer import DISK, Writer
from tests.unit.storage.test_repeated_txns import NOTE, append, records_in
from zoolet.model import requests
from zoolet.model.codes import OpCode
from zoolet.storage.recovery import recover
from zoolet.testing import ApacheServer


@pytest.mark.parametrize(("repeated", "apache_reads"), [(slice(0, None), 9), (slice(0, 6), 3)])
def test_a_server_starts_from_a_log_with_repeated_txns(
    tmp_path: Path, apache_jars: Path, repeated: slice, apache_reads: int
) -> None:
    """Apache applies them again, and has an older state if the log ends within the range."""
    writer = Writer(tmp_path / "data")
    writer.create("/a")
    for number in range(10):
        writer.change(OpCode.SET_DATA, requests.SetData("/a", b"%d" % number, -1))
    writer.log.roll()
    (log,) = writer.logs()
    append(log, records_in(log)[repeated])
    recovery = writer.recover()
    znode = recovery.machine.tree.find("/a")
    assert znode is not None
    assert znode.data == b"9"
    assert recovery.notes == [f"{NOTE} {log} contains again"]
    apache = ApacheServer(tmp_path, apache_jars)
    apache.start()
    client = KazooClient(apache.hosts)
    try:
        client.start()
        data, stat = client.get("/a")
        assert int(data) == apache_reads
        if apache_reads == 9:
            assert (stat.mzxid, stat.version) == (znode.stat.mzxid, znode.stat.version)
        client.create("/b", b"new")
    finally:
        client.stop()
        client.close()
        apache.kill()
    after = recover(DISK, writer.directories, 100).machine.tree.find("/b")
    assert after is not None
    assert after.data == b"new"
