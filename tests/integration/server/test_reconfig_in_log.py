"""A data directory that an ensemble has used: its log holds a reconfig."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.rawclient import RawClient
from tests.support.writer import SESSION, Writer
from zoolet.archive.commands.data_group import data
from zoolet.model.codes import OpCode
from zoolet.model.paths import CONFIG
from zoolet.model.stat import Stat
from zoolet.model.txns import SetDataTxn, Txn, TxnHeader
from zoolet.storage.txn_log import encode_record
from zoolet.testing import ServerProcess
from zoolet.wire.jute import Reader, pack_ustring

MEMBERS = b"server.1=a:2888:3888:participant;2181\nversion=100000000"


def log_reconfig(writer: Writer, version: int) -> Txn:
    """Log what an ensemble does of a reconfig (``PrepRequestProcessor``): a setData as type 16."""
    body = SetDataTxn(CONFIG, MEMBERS, version)
    header = TxnHeader(SESSION, 1, writer.machine.zxid + 1, 1_700_000_000_000, OpCode.RECONFIG)
    txn = Txn(header, body)
    writer.machine.apply(txn)
    writer.log.append(header.zxid, encode_record(txn))
    return txn


@pytest.fixture
def logged(tmp_path: Path) -> tuple[Path, Txn]:
    """Return the directory of a server whose newest log holds a reconfig between other txns."""
    writer = Writer(tmp_path / "data")
    writer.create("/before")
    txn = log_reconfig(writer, version=-1)
    writer.create("/after")
    return tmp_path, txn


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def test_a_server_starts_from_it_and_shows_the_members(logged: tuple[Path, Txn]) -> None:
    """Also after a restart, from the snapshot that it wrote."""
    directory, txn = logged
    server = ServerProcess(directory)
    assert server.config.data_dir == directory / "data"
    for _ in range(2):
        with server, RawClient(server.port) as client:
            client.connect()
            reply = client.request(OpCode.GET_DATA, pack_ustring(CONFIG) + b"\0")
            reader = Reader(reply.body)
            assert reader.read_buffer() == MEMBERS
            stat = Stat.unpack(reply.body, reader.position)
            assert (stat.mzxid, stat.mtime) == (txn.header.zxid, txn.header.time_ms)
            assert stat.version == -1
            for path in ("/before", "/after"):
                assert client.request(OpCode.EXISTS, pack_ustring(path) + b"\0").err == 0


def test_the_data_commands_read_it(logged: tuple[Path, Txn]) -> None:
    directory, txn = logged
    source = directory / "data"
    checked = run("check", source)
    assert checked.exit_code == 0
    assert "DAMAGED" not in checked.stdout
    assert f"at zxid 0x{txn.header.zxid + 1:x}" in checked.stdout
    (log,) = (source / "version-2").glob("log.*")
    dumped = [json.loads(line) for line in run("dump", log).stdout.splitlines()]
    shown = [line for line in dumped if line["type"] == "reconfig"]
    assert len(shown) == 1
    assert (shown[0]["path"], MEMBERS.decode() in shown[0].values()) == (CONFIG, True)
    history = [json.loads(line) for line in run("history", source, CONFIG).stdout.splitlines()]
    assert [line["zxid"] for line in history] == [shown[0]["zxid"]]


def test_a_restore_keeps_it(logged: tuple[Path, Txn]) -> None:
    directory, txn = logged
    restored = directory / "restored"
    as_of = f"0x{txn.header.zxid:x}"
    result = run("restore", directory / "data", "--as-of", as_of, "--to", restored)
    assert result.exit_code == 0
    exported = [json.loads(line) for line in run("export", restored).stdout.splitlines()]
    assert MEMBERS.decode() in [line.get("data") for line in exported if line.get("path") == CONFIG]
