"""``zoolet archive --from`` with an Apache ZooKeeper ensemble: what the leader sends, and gaps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.archive.test_archive_command import data_of, run, wait_for_data
from tests.support.apache import require_apache
from tests.support.archiver import ArchiverProcess
from tests.support.ensemble import ApacheEnsemble
from tests.support.waiting import wait_until
from tests.support.writer import Writer
from zoolet.archive.format.records import Reason
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.store import Store
from zoolet.client import Client

MORE_THAN_THE_LEADER_KEEPS = 600
"""The leader keeps the last 500 txns in memory; without ``snapshotSizeFactor`` it reads no log."""


@pytest.fixture(scope="module")
def ensemble(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApacheEnsemble]:
    """An ensemble of one member."""
    jars = require_apache(request.config.getoption("--apache-jars"))
    directory = tmp_path_factory.mktemp("ensemble")
    settings = {"snapshotSizeFactor": -1}
    with ApacheEnsemble(directory, jars, 192, settings, count=1) as running:
        running.leader()
        yield running


def archiver_of(directory: Path, url: str, *source: str, work: str = "work") -> ArchiverProcess:
    options = [*source, "--to", url, "--interval", "0.1", "--work-dir", str(directory / work)]
    return ArchiverProcess(directory / "log", *options)


def test_txns_while_the_archiver_does_not_run_are_archived(
    ensemble: ApacheEnsemble, tmp_path: Path
) -> None:
    """Also if its work directory is lost: it is filled from the archive."""
    url = str(tmp_path / "archive")
    with Client(ensemble.hosts) as client:
        client.create("/diff", b"0")
        with archiver_of(tmp_path, url, "--from", ensemble.hosts) as archiver:
            archiver.wait_for("archiving (timeline 1")
            client.set("/diff", b"1")
            wait_for_data(url, "/diff", b"1")
            archiver.kill()
        client.set("/diff", b"2")
        config = str(ensemble.members[0].config_path)
        with archiver_of(tmp_path, url, "--config", config, work="new") as archiver:
            wait_for_data(url, "/diff", b"2")
            assert archiver.stop() == 0
            assert "has the state of the archive" in archiver.log
    assert run("check", url).exit_code == 0


def test_the_archive_of_another_server_is_refused(ensemble: ApacheEnsemble, tmp_path: Path) -> None:
    """With an empty work directory, and with one that has followed another ensemble."""
    writer = Writer(tmp_path / "data")
    writer.create("/other")
    url = str(tmp_path / "archive")
    archived = run("--from-dir", str(tmp_path / "data"), "--to", url, "--once")
    assert archived.exit_code == 0, archived.output
    names = [name for name in Store(url).names() if "owners/" not in name]
    for _ in range(2):
        archiver = archiver_of(tmp_path, url, "--from", ensemble.hosts)
        assert archiver.run() == 1
    assert archiver.log.count("Nothing of it was archived") == 2
    assert [name for name in Store(url).names() if "owners/" not in name] == names


def test_a_snapshot_of_the_leader_is_a_gap(ensemble: ApacheEnsemble, tmp_path: Path) -> None:
    url = str(tmp_path / "archive")
    with Client(ensemble.hosts) as client:
        client.create("/snap", b"0")
        with archiver_of(tmp_path, url, "--from", ensemble.hosts) as archiver:
            archiver.wait_for("archiving (timeline 1")
            archiver.kill()
            for number in range(MORE_THAN_THE_LEADER_KEEPS):
                client.set("/snap", b"%1000d" % number)
            archiver.start()
            wait_until(lambda: len(Archive.open(Store(url)).catalog().lines) == 2, "a timeline")
            client.set("/snap", b"end")
            wait_for_data(url, "/snap", b"end")
            assert archiver.stop() == 0
    (gap,) = Archive.open(Store(url)).catalog().gaps()
    assert gap.reason is Reason.SNAPSHOT
    assert data_of(url, "/snap") == b"end"
    result = run("check", url)
    assert result.exit_code == 1
    assert "GAP" in result.output
