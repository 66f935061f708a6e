"""Which txn is the last one of a directory, and which states have a common history."""

from pathlib import Path

from tests.support.writer import DISK, Writer
from zoolet.model import requests
from zoolet.model.codes import OpCode
from zoolet.storage.common_history import LastTxn, has_common_history, last_txn
from zoolet.storage.txn_log import read_raw_records


def payloads(writer: Writer) -> list[bytes]:
    """Return the txns in all logs."""
    return [
        record.payload
        for path in writer.logs()
        for record in read_raw_records(path, path.read_bytes())
    ]


def test_the_last_txn_and_the_one_before_it(tmp_path: Path) -> None:
    """In one log, in two logs, and behind a snapshot; without a log, only its zxid is known."""
    writer = Writer(tmp_path)
    assert last_txn(DISK, writer.directories, 1) == LastTxn(1, payloads(writer)[-1], 0)
    writer.create("/a")
    assert last_txn(DISK, writer.directories, 2) == LastTxn(2, payloads(writer)[-1], 1)
    writer.snapshot()
    writer.create("/b")
    assert last_txn(DISK, writer.directories, 3) == LastTxn(3, payloads(writer)[-1], 2)
    writer.logs()[0].unlink()
    assert last_txn(DISK, writer.directories, 3) == LastTxn(3, payloads(writer)[-1], 2)
    writer.logs()[0].unlink()
    assert last_txn(DISK, writer.directories, 3) == LastTxn(3, None, 0)


def test_a_session_or_the_creation_of_a_znode_is_a_common_history(tmp_path: Path) -> None:
    one, same, other = (
        Writer(tmp_path / "1", 1),
        Writer(tmp_path / "2", 1),
        Writer(tmp_path / "3", 2),
    )
    assert has_common_history(one.machine, same.machine)
    assert not has_common_history(one.machine, other.machine)
    one.create("/a", "/b")
    other.time_ms += 1
    other.create("/a", "/b")
    assert not has_common_history(one.machine, other.machine)
    later = Writer(tmp_path / "4", 1)
    later.create("/a", "/b", "/c")
    one.change(OpCode.CLOSE_SESSION, requests.CloseSession())
    assert has_common_history(one.machine, later.machine)
    later.change(OpCode.DELETE, requests.Delete("/a", -1))
    assert has_common_history(one.machine, later.machine)
    later.change(OpCode.DELETE, requests.Delete("/b", -1))
    assert not has_common_history(one.machine, later.machine)
