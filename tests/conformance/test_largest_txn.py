"""The largest txn that zoolet writes is the largest that Apache ZooKeeper reads back from a log.

Both have the same jute.maxbuffer. A server that cannot read a txn back does not start.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.largetxns import authenticate, large_multi
from tests.support.rawclient import RawClient
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.limits import max_txn_bytes_of
from zoolet.storage.txn_log import encode_log_record, read_raw_records
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import QUICK_START
from zoolet.testing.servers.process import ExternalServer

MAX_FRAME_BYTES = 4096
MAX_TXN_BYTES = max_txn_bytes_of(MAX_FRAME_BYTES)
SETTINGS = {"jute.maxbuffer": MAX_FRAME_BYTES, "preAllocSize": 0}

Start = Callable[[Path], ExternalServer]


@pytest.fixture(params=["zoolet", "apache"])
def start(request: pytest.FixtureRequest) -> Start:
    """Make a server on a data directory, with the jute.maxbuffer of these tests."""
    if request.param == "zoolet":
        return lambda directory: ServerProcess(directory, SETTINGS)
    jars = request.getfixturevalue("apache_jars")
    return lambda directory: apache_at(directory, jars, MAX_FRAME_BYTES)


def largest_payload(directory: Path) -> tuple[Path, bytes]:
    """Return the largest txn in the only log, and the log."""
    (log,) = directory.glob("data/version-2/log.*")
    return log, max((each.payload for each in read_raw_records(log, log.read_bytes())), key=len)


def write_the_largest_txn(directory: Path) -> list[str]:
    """Let zoolet write it, and die; return the paths that the txn creates."""
    body, paths = large_multi(MAX_TXN_BYTES)
    with ServerProcess(directory, SETTINGS) as server:
        with RawClient(server.port) as client:
            client.connect()
            authenticate(client)
            too_large, _ = large_multi(MAX_TXN_BYTES + 1)
            assert client.request(OpCode.MULTI, too_large).err == ErrorCode.MARSHALLING_ERROR
            assert client.request(OpCode.MULTI, body).err == 0
        server.kill()
    return paths


def test_the_largest_txn_is_read_back(tmp_path: Path, start: Start) -> None:
    paths = write_the_largest_txn(tmp_path)
    _, payload = largest_payload(tmp_path)
    assert len(payload) == MAX_TXN_BYTES
    with start(tmp_path) as server, RawClient(server.port) as client:
        client.connect()
        authenticate(client)
        for path in paths:
            assert client.request(OpCode.EXISTS, path_body(path)).err == 0


def test_apache_reads_no_larger_txn_back(tmp_path: Path, apache_jars: Path) -> None:
    """So the limit is not lower than it has to be."""
    write_the_largest_txn(tmp_path)
    log, payload = largest_payload(tmp_path)
    # Apache passes over a byte behind the txn, where a digest may be.
    larger = encode_log_record(payload + b"\0")
    log.write_bytes(log.read_bytes().replace(encode_log_record(payload), larger))
    with pytest.raises(RuntimeError, match="did not start"):
        apache_at(tmp_path, apache_jars, MAX_FRAME_BYTES).start()
    with apache_at(tmp_path, apache_jars, MAX_FRAME_BYTES + 1) as server:
        assert server.is_running


def apache_at(directory: Path, jars: Path, max_frame_bytes: int) -> ApacheServer:
    # Apache takes jute.maxbuffer from the command line only.
    options = ("-Xmx512m", *QUICK_START, f"-Djute.maxbuffer={max_frame_bytes}")
    return ApacheServer(directory, jars, java_options=options)


def path_body(path: str) -> bytes:
    return len(path).to_bytes(4) + path.encode() + b"\0"
