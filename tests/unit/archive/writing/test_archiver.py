"""An archiver as a whole: what ends it at the start, and the objects of its owner."""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.archiving import KEEPS_ALL, MemoryPlace, archive_in
from tests.support.writer import Writer
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.names import OWNERS
from zoolet.archive.store.store import Store
from zoolet.archive.writing.archiver import Archiver, Options
from zoolet.archive.writing.retrying import StoppedError, Stopping
from zoolet.archive.writing.sources import DirectorySource
from zoolet.archive.writing.status import Status


def archiver_of(place: MemoryPlace, stopping: Stopping, limit_bytes_per_s: int = 0) -> Archiver:
    store = Store("memory", None, limit_bytes_per_s, place)
    return Archiver(store, Options(0.01, KEEPS_ALL), Status(), stopping)


@pytest.mark.parametrize("seed", range(8))
def test_a_missing_permission_ends_the_archiver_at_each_request_of_the_start(
    seed: int, tmp_path: Path
) -> None:
    """And when the permission is given, the next archiver archives everything."""
    chance = random.Random(seed)
    place, writer = MemoryPlace(), Writer(tmp_path)
    writer.create("/a")
    if chance.random() < 0.5:
        archiver_of(place, Stopping(60)).run(DirectorySource(writer.directories), once=True)
        writer.create("/b")
    left = chance.randrange(8)

    def fail() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise PermissionError("Access Denied")

    place.before = fail
    with pytest.raises(ArchiveError, match="Access Denied"):
        archiver_of(place, Stopping(60)).run(DirectorySource(writer.directories), once=True)
    place.before = lambda: None
    archiver_of(place, Stopping(60)).run(DirectorySource(writer.directories), once=True)
    end = archive_in(place).catalog().end
    assert end is not None
    assert end.zxid == writer.machine.zxid


def test_a_low_limit_neither_delays_the_owner_nor_the_stop(tmp_path: Path) -> None:
    place, writer = MemoryPlace(), Writer(tmp_path)
    archiver_of(place, Stopping(60)).run(DirectorySource(writer.directories), once=True)
    writer.create("/a")
    stopping = Stopping(0.0)
    slow = archiver_of(place, stopping, limit_bytes_per_s=1)
    with suppress(StoppedError), slow.opened() as (_, ownership):
        ownership.refresh()
        assert sum(name.startswith(OWNERS) for name in place.objects) == 2
        stopping.ask()
    before = {name for name in place.objects if not name.startswith(OWNERS)}
    slow.run(DirectorySource(writer.directories), once=True)  # ends: the time is over
    assert {name for name in place.objects if not name.startswith(OWNERS)} == before
