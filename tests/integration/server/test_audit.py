"""The audit log of real servers: who changed what, hostile names, a full disk, the order."""

import contextlib
import os
import random
import re
import select
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kazoo.exceptions import KazooException, NoNodeError

from tests.support.audit import fields_of, json_records_of, lines_of, records_of, unescaped
from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.server.common.errors import ServerError
from zoolet.testing import EmbeddedServer, ServerProcess
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

SETTINGS = {"audit.enable": "true", "zoolet.audit.onFailure": "stop"}
FULL = {"zoolet.audit.file": "/dev/full"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "server", SETTINGS) as running:
        yield running


@contextlib.contextmanager
def started(server: Any) -> Iterator[Any]:
    client = server.client()
    client.start(timeout=20)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def log_of(server: ServerProcess) -> Path:
    return server.directory / "data" / "zookeeper_audit.log"


def shortened(records: Sequence[dict[str, str]]) -> list[tuple[str, ...]]:
    keys = ("operation", "znode", "znode_type", "result")
    return [tuple(each[key] for key in keys if key in each) for each in records]


def test_every_operation(server: ServerProcess) -> None:
    with started(server) as client:
        client.add_auth("digest", "bob:secret")
        client.create("/a", b"x")
        client.set("/a", b"y")
        client.set_acls("/a", client.get_acls("/a")[0])
        client.get("/a")
        with pytest.raises(NoNodeError):
            client.delete("/missing")
        client.create("/e", ephemeral=True)
        batch = client.transaction()
        batch.create("/m")
        batch.create("/m/s-", sequence=True, ephemeral=True)
        batch.delete("/a")
        assert all(not isinstance(each, Exception) for each in batch.commit())
        batch = client.transaction()
        batch.create("/never")
        batch.create("/m")
        batch.commit()
        session = f"0x{client.client_id[0]:x}"
    assert server.stop() == 0
    records = records_of(log_of(server))
    assert shortened(records) == [
        ("serverStart", "success"),
        ("create", "/a", "persistent", "success"),
        ("setData", "/a", "success"),
        ("setAcl", "/a", "success"),
        ("delete", "/missing", "failure"),
        ("create", "/e", "ephemeral", "success"),
        ("create", "/m", "persistent", "success"),
        ("create", "/m/s-0000000000", "ephemeral_sequential", "success"),
        ("delete", "/a", "success"),
        ("multiOperation", "failure"),
        ("ephemeralZNodeDeletionOnSessionCloseOrExpire", "/e", "success"),
        ("ephemeralZNodeDeletionOnSessionCloseOrExpire", "/m/s-0000000000", "success"),
        ("serverStop", "invoked"),
    ]
    of_client, of_server = records[1:10], [records[0], *records[10:]]
    assert {(each["user"], each["ip"]) for each in of_client} == {("127.0.0.1,bob", "127.0.0.1")}
    assert len({each["user"] for each in of_server}) == 1
    assert not any("ip" in each for each in of_server)
    assert {each["session"] for each in records[1:-1]} == {session}


def test_a_session_with_many_ephemerals(server: ServerProcess) -> None:
    """The session ends in several txns, and each of its ephemerals is in the log once."""
    with started(server) as client:
        for number in range(450):
            client.create_async(f"/e{number}", ephemeral=True)
        client.create("/last")
    server.stop()
    deleted = [
        record["znode"]
        for record in records_of(log_of(server))
        if record["operation"].startswith("ephemeral")
    ]
    assert deleted == [f"/e{number}" for number in range(450)]


def test_a_killed_server_does_not_record_its_replay(server: ServerProcess) -> None:
    with started(server) as client:
        client.create("/e", ephemeral=True)
        server.kill()
        before = records_of(log_of(server))
        server.start()
        wait_until(lambda: len(records_of(log_of(server))) > len(before), "the start")
        assert shortened(records_of(log_of(server)))[len(before) :] == [("serverStart", "success")]


def hostile(count: int, chance: random.Random) -> Iterator[str]:
    """Yield different names with characters that end fields or lines somewhere."""
    pieces = ["\n", "\t", "\r", "=", "\\", ",", " ", "\x1b", "\x85", "\u2028", "\u2029", "\x0b"]
    pieces += ["\tresult=success", "\nsession=0x1\tuser=root\toperation=delete\tresult=success"]
    pieces += ["\u202e", "\U0001f600", "\x00", '"', "/", "ö"]
    for number in range(count):
        yield f"/{number}" + "".join(chance.choices(pieces, k=chance.randrange(1, 6)))


@pytest.mark.parametrize("form", ["apache", "json"])
def test_a_thousand_hostile_names_are_a_thousand_lines(tmp_path: Path, form: str) -> None:
    settings = SETTINGS | {"zoolet.audit.format": form}
    names = list(hostile(1000, random.Random(24)))
    users = [name.replace(":", "").replace("/", "") for name in names[:50]]
    with ServerProcess(tmp_path / "server", settings) as server, RawClient(server.port) as client:
        client.connect(timeout_ms=60_000)
        for user in users:
            body = INT.pack(0) + pack_ustring("digest") + pack_buffer(f"{user}:pw".encode())
            client.request(OpCode.AUTH, body, xid=-4)
        for name in names:
            client.create(name)
        server.stop()
        path = log_of(server)
    lines = [line for line in lines_of(path) if "server" not in line.split("operation")[1][:10]]
    assert len(lines) == 1000
    assert len(path.read_bytes().decode().splitlines()) == 1002
    if form == "json":
        records = json_records_of(path)[1:-1]
        assert [record["znode"] for record in records] == names
        assert {record["operation"] for record in records} == {"create"}
        return
    found = [fields_of(line) for line in lines]
    assert [unescaped(fields["znode"]) for fields in found] == names
    for fields in found:
        assert fields["operation"] == "create"
        assert [unescaped(user) for user in fields["user"].split(",")] == ["127.0.0.1", *users]


def test_a_full_disk_with_drop(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "server", {"audit.enable": "true", **FULL}) as server,
        started(server) as client,
    ):
        for number in range(20):
            client.create(f"/a{number}")
        wait_until(lambda: figure(server, "audit_records_lost") == 21, "the count")
        assert figure(server, "audit_records_written") == 0
        client.create("/b")
        assert server.log.count("audit records are lost") == 1


def figure(server: ServerProcess, name: str) -> int:
    found = re.search(rf"^zk_{name}\t(\d+)$", server.ask("mntr"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_no_figures_without_an_audit_log(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server") as server:
        assert "audit" not in server.ask("mntr")
    assert not list((tmp_path / "server" / "data").glob("*audit*"))


class SmallFiles(ServerProcess):
    """A server whose files cannot become longer than 64 KiB, as on a full disk."""

    def _command(self) -> Sequence[str]:
        return ["bash", "-c", 'ulimit -f 64 && exec "$0" "$@"', *super()._command()]


def test_a_full_disk_with_stop(tmp_path: Path) -> None:
    """The server stops, and each change that it acknowledged is in the audit log."""
    settings = SETTINGS | {"preAllocSize": 0, "snapCount": 100}
    with SmallFiles(tmp_path / "server", settings) as server, RawClient(server.port) as client:
        client.connect(timeout_ms=60_000)
        acknowledged = 0
        with contextlib.suppress(EOFError, ConnectionError):
            while client.create(f"/a{acknowledged}").err == 0:
                acknowledged += 1
        assert server.wait() == 1
    assert (
        "zookeeper_audit.log cannot be written: File too large. The server stops, because"
        " zoolet.audit.onFailure=stop. Free disk space" in server.log
    )
    created = [each["znode"] for each in records_of(log_of(server)) if each.get("znode")]
    assert acknowledged > 100
    assert created[:acknowledged] == [f"/a{number}" for number in range(acknowledged)]


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    file = {"zoolet.audit.file": str(tmp_path / "missing" / "audit.log")}
    server = ServerProcess(tmp_path / "server", SETTINGS | file)
    with pytest.raises(RuntimeError, match="cannot be written: No such file"):
        server.start()
    with ServerProcess(tmp_path / "other", {"audit.enable": "true", **file}) as running:
        assert "audit.log cannot be opened: No such file or directory" in running.log


def test_a_start_that_fails_is_recorded(tmp_path: Path, server: ServerProcess) -> None:
    port = {"metricsProvider.httpPort": server.port, "metricsProvider.httpHost": "127.0.0.1"}
    provider = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
    second = ServerProcess(
        tmp_path / "second", SETTINGS | port | {"metricsProvider.className": provider}
    )
    with pytest.raises(RuntimeError, match="cannot serve metrics"):
        second.start()
    assert shortened(records_of(log_of(second))) == [("serverStart", "failure")]


def test_the_file_is_rotated(tmp_path: Path) -> None:
    settings = SETTINGS | {
        "zoolet.audit.maxFileKiB": 2,
        "zoolet.audit.keptFiles": 200,
        "zoolet.audit.fileMode": "640",
    }
    with ServerProcess(tmp_path / "server", settings) as server, started(server) as client:
        for number in range(100):
            client.create(f"/a{number}")
    files = sorted(
        log_of(server).parent.glob("zookeeper_audit.log.*"),
        key=lambda path: -int(path.suffix[1:]),
    )
    assert len(files) > 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o640}
    assert all(path.stat().st_size <= 2048 for path in files)
    names = [each.get("znode") for path in [*files, log_of(server)] for each in records_of(path)]
    assert names[1:101] == [f"/a{number}" for number in range(100)]


def test_a_record_waits_for_the_sync(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    settings = SETTINGS | {"zoolet.audit.file": path}
    with EmbeddedServer(settings=settings) as server, RawClient(server.port) as client:
        client.connect()
        client.create("/a")
        server.disk.hold_syncs()
        body = pack_ustring("/b") + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(0)
        client.send(OpCode.CREATE, body)
        server.disk.wait_for_sync()
        assert shortened(records_of(path))[-1][1] == "/a"
        assert not select.select([client.socket], [], [], 0)[0]
        server.disk.release_syncs()
        assert client.read_reply().err == 0
        assert shortened(records_of(path))[-1][1] == "/b"


def test_a_failed_sync_leaves_no_record(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with EmbeddedServer(settings=SETTINGS | {"zoolet.audit.file": path}) as server:
        with RawClient(server.port) as client:
            client.connect()
            client.create("/a")
            server.disk.fill()
            with contextlib.suppress(EOFError, ConnectionError):
                client.create("/b")
            server.wait_until_ended()
        assert isinstance(server.failure, ServerError)
    assert "/b" not in path.read_text()
    assert shortened(records_of(path))[-1] == ("serverStop", "invoked")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_a_small_file_system_that_fills_up(tmp_path: Path) -> None:
    """The disk of the audit log is full for a while: records are lost, and later ones are not."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount file systems")
    try:
        path = small / "audit.log"
        settings = {"audit.enable": "true", "zoolet.audit.file": path}
        with ServerProcess(tmp_path / "server", settings) as server, started(server) as client:
            number = 0
            while not figure(server, "audit_records_lost"):
                with contextlib.suppress(KazooException):
                    client.create(f"/a{number}")
                number += 1
            path.unlink()
            client.create("/after")
            wait_until(lambda: path.exists() and "/after" in path.read_text(), "the record")
            lost = figure(server, "audit_records_lost")
            assert figure(server, "audit_records_written") + lost == number + 2
    finally:
        subprocess.run(["umount", str(small)], check=True)
