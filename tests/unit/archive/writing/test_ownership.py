"""At most one archiver writes into an archive."""

import os
import platform

import pytest

from tests.support.archiving import MemoryPlace
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.names import OwnerName
from zoolet.archive.format.records import Owner
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.store import Store
from zoolet.archive.writing import ownership
from zoolet.archive.writing.ownership import ALIVE_S, LostOwnershipError, Ownership


class _Clock:
    now_ms = 1_700_000_000_000


@pytest.fixture
def clock() -> _Clock:
    """The clock of the store."""
    return _Clock()


@pytest.fixture
def archive(clock: _Clock) -> Archive:
    """An empty archive."""
    place = MemoryPlace()
    place.now_ms = lambda: clock.now_ms
    return Archive.open_or_create(Store("memory", place=place))


def write_owner(
    archive: Archive,
    number: int,
    host: str,
    pid: int,
    *,
    ended: bool = False,
    machine: str | None = None,
) -> None:
    if machine is None:
        machine = ownership.machine()
    owner = Owner("id", host, machine, pid, 1, 2, ended=ended)
    archive.store.write(str(OwnerName(number)), [owner.encode()])


def test_an_owner_of_another_machine_that_is_alive_is_respected(
    archive: Archive, clock: _Clock
) -> None:
    write_owner(archive, 7, "other", 12)
    clock.now_ms += 59_000
    with pytest.raises(ArchiveError, match=r"on 'other' with the process id 12 .* 59 s ago"):
        Ownership.take(archive)
    assert archive.store.names("owners/") == ["owners/0000000007"]
    clock.now_ms += int(ALIVE_S * 1000) - 59_000
    Ownership.take(archive)
    assert archive.store.names("owners/")[-1] == "owners/0000000008"


def test_a_clean_stop_lets_the_next_one_start_at_once(archive: Archive) -> None:
    write_owner(archive, 1, "other", 12, ended=True)
    Ownership.take(archive).release()
    Ownership.take(archive)
    assert len(archive.store.names("owners/")) == 3


def test_a_dead_process_of_this_machine_is_no_owner(archive: Archive) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    write_owner(archive, 1, platform.node(), child)
    Ownership.take(archive)


def test_a_live_process_of_this_machine_is_an_owner(archive: Archive) -> None:
    write_owner(archive, 1, platform.node(), os.getppid())
    with pytest.raises(ArchiveError, match=f"process id {os.getppid()}"):
        Ownership.take(archive)


@pytest.mark.parametrize("machine", ["another boot", ""])
def test_a_process_of_another_machine_with_the_same_name_is_an_owner(
    archive: Archive, machine: str
) -> None:
    write_owner(archive, 1, platform.node(), 1 << 22, machine=machine)
    with pytest.raises(ArchiveError, match="Stop it first"):
        Ownership.take(archive)


def test_an_owner_stops_when_there_is_a_newer_one(archive: Archive) -> None:
    own = Ownership.take(archive)
    own.refresh()
    write_owner(archive, 2, "other", 12)
    with pytest.raises(LostOwnershipError, match="owners/0000000002"):
        own.refresh()
    with pytest.raises(LostOwnershipError):
        own.check()


def test_a_damaged_owner_counts_for_its_time(archive: Archive, clock: _Clock) -> None:
    archive.store.write(str(OwnerName(1)), [b"not JSON"])
    with pytest.raises(ArchiveError, match="an unknown archiver"):
        Ownership.take(archive)
    clock.now_ms += int(ALIVE_S * 1000)
    Ownership.take(archive)


def test_old_owners_are_deleted(archive: Archive) -> None:
    for _ in range(12):
        Ownership.take(archive).release()
    names = archive.store.names("owners/")
    assert len(names) == 6
    assert names[-1] == "owners/0000000012"
