"""``zoolet archive`` with real servers, an object store and processes that are killed."""

import gc
import random
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.archiver import ArchiverProcess
from tests.support.s3 import S3Emulator
from tests.support.waiting import wait_until
from zoolet.archive.commands.archive import archive
from zoolet.archive.format.names import IDENTITY
from zoolet.archive.reading.archive_source import ArchiveSource
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.store import Store
from zoolet.client import Client
from zoolet.storage.recovery import ALL
from zoolet.testing import ServerProcess

INTERVAL = ("--interval", "0.1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A running zoolet."""
    with ServerProcess(tmp_path / "server") as running:
        yield running


def run(*arguments: str) -> Result:
    return CliRunner().invoke(archive, arguments)


def data_of(url: str, path: str) -> bytes | None:
    """Return the data of a znode in the newest state of an archive."""
    machine = ArchiveSource(Archive.open(Store(url))).state_at(ALL).machine
    znode = machine.tree.find(path)
    return None if znode is None else znode.data


def wait_for_data(url: str, path: str, data: bytes) -> None:
    wait_until(lambda: data_of(url, path) == data, f"{data!r} in the archive")


def test_a_running_server_is_archived_and_a_killed_archiver_continues(
    server: ServerProcess, tmp_path: Path
) -> None:
    url = str(tmp_path / "archive")
    archiver = ArchiverProcess(
        tmp_path, "--from-dir", str(server.directory / "data"), "--to", url, *INTERVAL
    )
    with Client(server.hosts) as client, archiver:
        client.create("/a", b"0")
        archiver.wait_for("archiving (timeline 1")
        for number in range(1, 3):
            client.set("/a", b"%d" % number)
            wait_for_data(url, "/a", b"%d" % number)
            archiver.kill()
            client.set("/a", b"while it does not run")
            archiver.start()
            wait_for_data(url, "/a", b"while it does not run")
        assert archiver.stop() == 0
    result = run("check", url)
    assert (result.exit_code, result.output.count("\n")) == (0, 1)


def test_a_second_archiver_does_not_start(server: ServerProcess, tmp_path: Path) -> None:
    url = str(tmp_path / "archive")
    options = ["--from-dir", str(server.directory / "data"), "--to", url, *INTERVAL]
    with ArchiverProcess(tmp_path / "first", *options) as first:
        first.wait_for("archiving (timeline 1")
        second = ArchiverProcess(tmp_path / "second", *options)
        assert second.run() == 1
        assert "Stop it first" in second.log
        assert first.stop() == 0


def test_once_archives_a_stopped_server_with_a_key(server: ServerProcess, tmp_path: Path) -> None:
    with Client(server.hosts) as client:
        client.create("/a", b"secret")
    server.stop()
    url, key = str(tmp_path / "archive"), str(tmp_path / "key")
    assert run("key", key).exit_code == 0
    data = str(server.directory / "data")
    result = run("--from-dir", data, "--to", url, "--once", "--key-file", key)
    assert result.exit_code == 0, result.output
    result = run("check", url)
    assert result.exit_code == 1
    assert "--key-file" in result.output
    assert run("check", url, "--key-file", key).exit_code == 0
    for path in Path(url).rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes()


def test_an_object_store_is_used_and_may_fail(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto")
    data = str(server.directory / "data")
    with S3Emulator(tmp_path / "s3") as store, Client(server.hosts) as client:
        environment = store.environment
        archiver = ArchiverProcess(
            tmp_path, "--from-dir", data, "--to", store.url, *INTERVAL, environment=environment
        )
        with archiver:
            archiver.wait_for("archiving (timeline 1")
            at = len(archiver.log)
            with store.cut_off():
                client.create("/a", b"the store does not answer")
                archiver.wait_for("the store fails", at)
            archiver.wait_for("the store works again", at)
            assert archiver.stop() == 0
        checking = ArchiverProcess(tmp_path / "check", "check", store.url, environment=environment)
        assert checking.run() == 0, checking.log
        assert re.search(r"[1-9]\d* objects, 0 problems", checking.log)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        check_large_and_exclusive_objects(Store(store.url))


def check_large_and_exclusive_objects(store: Store) -> None:
    """An object in several parts exists only when it is complete; an exclusive one is kept."""
    content = random.Random(1).randbytes(20 << 20)

    def interrupted() -> Iterator[bytes]:
        yield content
        raise OSError(5, "the source fails")

    name = "snapshots/0001/large"
    with pytest.raises(OSError, match="the source fails"):
        store.write(name, interrupted())
    gc.collect()  # the file of the library must be closed
    assert name not in store.names()
    store.write(name, [content])
    assert store.read(name) == content
    with pytest.raises(FileExistsError):
        store.write(IDENTITY, [b""], replaces=False)


def test_metrics_show_the_last_archived_txn(server: ServerProcess, tmp_path: Path) -> None:
    options = ["--from-dir", str(server.directory / "data"), "--to", str(tmp_path / "archive")]
    with (
        Client(server.hosts) as client,
        ArchiverProcess(tmp_path, *options, *INTERVAL, "--metrics-port", "0") as archiver,
    ):
        archiver.wait_for("metrics on http://127.0.0.1:")
        found = re.search(r"metrics on (http://127\.0\.0\.1:\d+/metrics)", archiver.log)
        assert found is not None
        client.create("/a")
        zxid = client.exists("/a")
        assert zxid is not None
        address = found[1]

        def figures() -> dict[str, str]:
            with urllib.request.urlopen(address, timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            return dict(line.split() for line in lines if not line.startswith("#"))

        wait_until(
            lambda: float(figures()["zoolet_archive_last_zxid"]) >= zxid.czxid, "the metrics"
        )
        assert float(figures()["zoolet_archive_gaps_total"]) == 0.0
        assert float(figures()["zoolet_archive_uploaded_bytes_total"]) > 0


def test_a_standalone_server_gets_the_advice(server: ServerProcess, tmp_path: Path) -> None:
    work_dir = str(tmp_path / "work")
    result = run("--from", server.hosts, "--to", str(tmp_path / "archive"), "--work-dir", work_dir)
    assert result.exit_code == 1
    assert "--from-dir" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--to", "x"],
        ["--from", "h", "--from-dir", "d", "--to", "x"],
        ["--from", "h"],
        ["--from", "h", "--to", "x", "--once"],
        ["--from-dir", "d", "--to", "x", "--my-id", "7"],
    ],
)
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2


def test_a_directory_without_data_is_refused(tmp_path: Path) -> None:
    result = run("--from-dir", str(tmp_path), "--to", str(tmp_path / "archive"), "--once")
    assert result.exit_code == 1
    assert "is not the dataDir of a server" in result.output


def test_a_place_that_cannot_be_used_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    data = str(server.directory / "data")
    result = run("--from-dir", data, "--to", str(tmp_path / "file" / "archive"), "--once")
    assert result.exit_code == 1
    assert "Correct the URL" in result.output
