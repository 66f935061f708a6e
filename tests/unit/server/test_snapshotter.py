"""When a snapshot makes pauses between its chunks, and when the log is too long for them."""

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.support.simulated import default_config
from zoolet.model.acl import OPEN_ACL
from zoolet.model.stat import Stat
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.pace import Pace
from zoolet.server.common.stats import Summary
from zoolet.server.snapshotter import Snapshotter
from zoolet.state_machine.tree import Tree
from zoolet.storage.snapshots import Image, read_snapshot
from zoolet.testing.servers.memory_disk import MemoryDisk

DIRECTORY = Path("/data/version-2")
DATA = bytes(100_000)
STAT = Stat(1, 1, 1, 1, 0, 0, 0, 0, len(DATA), 0, 1)
ZNODES = 30
SNAP_COUNT = 10


def datas(tree: Tree) -> dict[str, bytes | None]:
    return {path: znode.data for path, znode in tree.znodes()}


class Busy(Pace):
    """A thread that is always busy: each chunk waits until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__(lambda _after_s, _call: None)
        self.waiting: deque[Callable[[], None]] = deque()
        self.pauses = 0

    def go_on(self, step: Callable[[], None]) -> None:
        self.pauses += 1
        self.waiting.append(step)


class Parts:
    """A snapshotter whose disk is in memory, and whose other thread is the test."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.disk.make_directory(DIRECTORY)
        self.jobs: deque[tuple[Callable[[], None], Callable[[Exception | None], None]]] = deque()
        self.pace = Busy()
        config = default_config(Path("/data"))
        storage = config.storage._replace(snap_count=SNAP_COUNT)
        self.snapshotter = Snapshotter(
            config._replace(storage=storage),
            self.disk,
            cast("DiskThread", self),
            lambda call: call(),
            lambda: 0,
            Summary(),
            self.pace,
        )
        self.tree = Tree.fresh()
        for number in range(ZNODES):
            self.tree.add(f"/{number}", DATA, OPEN_ACL, STAT)

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        self.jobs.append((call, done))

    def take(self) -> None:
        self.snapshotter.take(Image(7, self.tree, {}))

    def run(self) -> None:
        """Do the work of the disk thread until the snapshot ends or makes a pause."""
        while self.jobs:
            call, done = self.jobs.popleft()
            call()
            done(None)

    def run_to_the_end(self) -> None:
        self.run()
        while self.pace.waiting:
            self.pace.waiting.popleft()()
            self.run()


def test_a_snapshot_pauses_after_each_chunk() -> None:
    parts = Parts()
    parts.take()
    parts.run_to_the_end()
    assert not parts.snapshotter.is_busy
    assert parts.pace.pauses > ZNODES // 3  # a chunk has up to three of these znodes


def test_a_long_log_ends_the_pauses() -> None:
    parts = Parts()
    parts.take()
    parts.run()
    assert len(parts.pace.waiting) == 1
    parts.snapshotter.count(8 * SNAP_COUNT)
    before = parts.pace.pauses
    parts.pace.waiting.popleft()()
    parts.run()
    assert not parts.snapshotter.is_busy
    assert parts.pace.pauses == before


@pytest.mark.parametrize("seed", range(10))
def test_every_snapshot_is_whole(seed: int) -> None:
    """With pauses or without, and whether it is stopped or not."""
    chance = random.Random(seed)
    parts = Parts()
    for _ in range(3):
        parts.take()
        while parts.snapshotter.is_busy:
            parts.run()
            if chance.random() < 0.3:
                parts.snapshotter.count(chance.randrange(4 * SNAP_COUNT))
            if parts.pace.waiting:
                parts.pace.waiting.popleft()()
    (path,) = {DIRECTORY / name for name in parts.disk.list_names(DIRECTORY)}
    found = read_snapshot(path, parts.disk.read(path))
    assert datas(found.tree) == datas(parts.tree)


def test_a_pause_ends_after_the_server_has_stopped() -> None:
    parts = Parts()
    parts.take()
    parts.run()
    parts.snapshotter.stop()
    parts.pace.waiting.popleft()()
    parts.run()
    assert not parts.pace.waiting
    assert parts.disk.list_names(DIRECTORY) == []
