"""An archive has each state, although the archiver, the leader and the store are killed.

``make archive-faults`` runs it with three members for ten minutes. Each writer owns its znodes and
notes the zxid of each of its changes: this is the model. At the end, the trees that are restored at
random zxids have exactly the znodes and the data of the model, and the archive has no gap.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.archiver import ArchiverProcess
from tests.support.ensemble import ApacheEnsemble
from tests.support.s3 import S3Emulator
from tests.support.waiting import wait_until
from zoolet.archive.checking.checking import check_archive
from zoolet.archive.reading.archive_source import ArchiveSource
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.store import Store
from zoolet.client import Client, NoNodeError, ZooKeeperError
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.recovery import AsOf

WRITERS = 3
NAMES = 8
RESTORED = 20
MY_ID = 200
PAUSES_S = (0.5, 3.0)
SHORT_S = 4.0


class Change(NamedTuple):
    """A change that a writer made; ``data`` is None for a delete."""

    zxid: int
    path: str
    data: bytes | None


class Writer(threading.Thread):
    """Changes the znodes below its own one, and notes the changes."""

    def __init__(self, number: int, hosts: str, seed: int) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.changes: list[Change] = []
        self.failure: Exception | None = None
        self._root = f"/w{number}"
        self._hosts = hosts
        self._chance = random.Random(seed)
        self._stopping = threading.Event()
        self._count = 0

    def run(self) -> None:
        try:
            with Client(self._hosts) as client:
                self._settle(client, lambda: self._create(client, self._root))
                while not self._stopping.is_set():
                    self._step(client)
        except Exception as failure:  # noqa: BLE001 -- the test's thread raises it
            self.failure = failure

    def stop(self) -> None:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()
        if self.failure is not None:
            raise self.failure

    def _step(self, client: Client) -> None:
        path = f"{self._root}/{self._chance.randrange(NAMES)}"
        self._count += 1
        data = b"%d" % self._count
        deletes = self._chance.random() < 0.3
        self._settle(client, lambda: self._change(client, path, data, deletes=deletes))

    def _change(self, client: Client, path: str, data: bytes, *, deletes: bool) -> None:
        if client.exists(path) is None:
            client.create(path, data)
        elif deletes:
            client.delete(path)
        else:
            client.set(path, data)

    def _create(self, client: Client, path: str) -> None:
        if client.exists(path) is None:
            client.create(path, b"")

    def _settle(self, client: Client, change: Callable[[], None]) -> None:
        """Make a change, which may fail, and note what has become of it."""
        with contextlib.suppress(ZooKeeperError):
            change()
        while not self._note(client):
            time.sleep(0.05)

    def _note(self, client: Client) -> bool:
        """Compare the znodes with the last ones that are known; return False if that fails."""
        try:
            client.sync(self._root)
            found: dict[str, tuple[bytes, int]] = {}
            try:
                data, stat = client.get(self._root)
            except NoNodeError:
                return True
            found[self._root] = (data or b"", stat.mzxid)
            last_zxid = stat.pzxid
            for name in client.children(self._root).names:
                path = f"{self._root}/{name}"
                data, stat = client.get(path)
                found[path] = (data or b"", stat.mzxid)
        except ZooKeeperError:
            return False
        known = state_at(self.changes, 1 << 62)
        for path, (data, zxid) in found.items():
            if known.get(path) != data:
                self.changes.append(Change(zxid, path, data))
        for path in known:
            if path not in found:
                self.changes.append(Change(last_zxid, path, None))
        return True


def state_at(changes: list[Change], zxid: int) -> dict[str, bytes]:
    """Return the znodes after all changes up to a zxid."""
    znodes: dict[str, bytes] = {}
    for change in sorted(changes, key=lambda each: each.zxid):
        if change.zxid > zxid:
            break
        if change.data is None:
            znodes.pop(change.path, None)
        else:
            znodes[change.path] = change.data
    return znodes


def znodes_of(machine: StateMachine) -> dict[str, bytes]:
    """Return the znodes of the writers."""
    return {path: node.data or b"" for path, node in machine.tree.znodes() if path.startswith("/w")}


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    given: float = request.config.getoption("--archive-seconds")
    return given


@pytest.fixture
def ensemble(tmp_path: Path, apache_jars: Path, seconds: float) -> Iterator[ApacheEnsemble]:
    count = 3 if seconds > SHORT_S else 1
    options = ("-Dorg.apache.logging.log4j.level=INFO",)
    directory = tmp_path / "ensemble"
    with ApacheEnsemble(directory, apache_jars, 256, java_options=options, count=count) as running:
        running.leader()
        yield running


def test_no_state_is_lost(
    ensemble: ApacheEnsemble, tmp_path: Path, seconds: float, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("--archive-seed") or random.randrange(1 << 32)
    print(f"\nmake archive-faults SECONDS={seconds:.0f} SEED={seed}")
    chance = random.Random(seed)
    with S3Emulator(tmp_path / "s3") as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        work_dir = str(tmp_path / "work")
        options = ["--from", ensemble.hosts, "--to", store.url, "--work-dir", work_dir]
        archiver = ArchiverProcess(tmp_path, *options, "--my-id", str(MY_ID), "--interval", "0.5")
        with archiver:
            archiver.wait_for("archiving (timeline 1")
            writers = [
                Writer(number, ensemble.hosts, chance.randrange(1 << 32))
                for number in range(WRITERS)
            ]
            for writer in writers:
                writer.start()
            make_faults(chance, seconds, ensemble, archiver, store)
            for writer in writers:
                writer.stop()
            changes = [change for writer in writers for change in writer.changes]
            last_zxid = max(change.zxid for change in changes)
            wait_until(lambda: end_of(store.url) >= last_zxid, "the last change in the archive")
            assert "zk_synced_observers\t1" in ensemble.leader().ask("mntr")
            assert archiver.stop() == 0
        findings = [each for each in check_archive(Store(store.url)) if each.is_problem]
        assert findings == []
        check_states(chance, store.url, changes)
    if seconds > SHORT_S:  # Debian's release logs only errors
        assert f"sid: {MY_ID}" in ensemble.leader().log


def make_faults(
    chance: random.Random,
    seconds: float,
    ensemble: ApacheEnsemble,
    archiver: ArchiverProcess,
    store: S3Emulator,
) -> None:
    """Kill the archiver, the store or the leader again and again, and start it again."""
    end_s = time.monotonic() + seconds
    kinds = ["archiver", "store", "leader"] if len(ensemble.members) > 1 else ["archiver", "store"]
    number = 0
    while time.monotonic() < end_s:
        # Each kind once in a round, so that a short run has each of them.
        kind = kinds[number % len(kinds)]
        number += 1
        time.sleep(chance.uniform(*PAUSES_S))
        print(f"{time.monotonic() - end_s + seconds:7.1f} s: kill the {kind}", flush=True)
        if kind == "archiver":
            archiver.kill()
            time.sleep(chance.uniform(0, 1))
            archiver.start()
        elif kind == "store":
            store.kill()
            time.sleep(chance.uniform(0, 2))
            store.start()
        else:
            leader = ensemble.leader()
            leader.kill()
            time.sleep(chance.uniform(0, 1))
            leader.start()


def end_of(url: str) -> int:
    end = Archive.open(Store(url)).catalog().end
    return 0 if end is None else end.zxid


def check_states(chance: random.Random, url: str, changes: list[Change]) -> None:
    """Compare restored trees with the model."""
    archive = Archive.open(Store(url))
    catalog = archive.catalog()
    first_zxid = catalog.lines[0].timeline.base_zxid
    zxids = sorted({change.zxid for change in changes if change.zxid > first_zxid})
    chosen = chance.sample(zxids, min(RESTORED, len(zxids)))
    for zxid in chosen:
        machine = ArchiveSource(archive).state_at(AsOf(zxid=zxid)).machine
        assert machine.zxid == zxid
        assert znodes_of(machine) == state_at(changes, zxid), hex(zxid)
    print(f"{len(changes)} changes; {len(chosen)} trees equal the model's")
