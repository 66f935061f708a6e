"""States and txns of archives: equal to a model's, or refused with the reason."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archives import ArchiveMaker
from tests.support.archiving import MemoryPlace, archive_in
from tests.support.histories import History, state_of
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.encryption import Key
from zoolet.archive.format.records import Reason
from zoolet.archive.reading.archive_source import ArchiveSource
from zoolet.archive.reading.source import MissingTxns
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.store import Store
from zoolet.model.txns import Txn
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.recovery import ALL, AsOf

KEY = Key("test", bytes(32))


def fresh() -> StateMachine:
    return StateMachine(Tree.fresh(), SessionTable(100))


class Archived:
    """A random history with its archive.

    Attributes:
        maker: the maker of the archive.
        states: the state after each archived txn, by zxid.
        txns: the archived txns, in order.
    """

    def __init__(self, folder: Path, seed: int, key: Key | None = None) -> None:
        self.chance = random.Random(seed)
        self.maker = ArchiveMaker(folder, key)
        self.history = History(self.chance, fresh())
        self.states: dict[int, dict[str, object]] = {}
        self.txns: list[Txn] = []
        self._note_state()
        self.maker.begin(self.history.machine, 1000)

    @property
    def machine(self) -> StateMachine:
        """The state after the last txn."""
        return self.history.machine

    @property
    def source(self) -> ArchiveSource:
        """The archive as a source."""
        return self.maker.source

    def _note_state(self) -> None:
        self.states[self.machine.zxid] = state_of(self.machine)

    def add_segment(self, count: int) -> str:
        """Make txns, and write them as a segment."""
        made = []
        for _ in range(count):
            made.append(self.history.step())
            self._note_state()
        self.txns += made
        return self.maker.segment(made)

    def add_snapshot(self) -> str:
        """Write a snapshot of the last state."""
        return self.maker.snapshot(self.machine, self.txns[-1].header.time_ms)

    def add_gap(self, count: int) -> list[int]:
        """Make txns that are not archived, and begin a timeline; return their zxids."""
        missed = [self.history.step() for _ in range(count)]
        self._note_state()
        self.maker.begin(self.machine, missed[-1].header.time_ms, Reason.SNAPSHOT)
        return [txn.header.zxid for txn in missed[:-1]]

    def grow(self, objects: int) -> None:
        """Write segments of random length and some snapshots."""
        for _ in range(objects):
            self.add_segment(self.chance.randrange(1, 12))
            if self.chance.random() < 0.3:
                self.add_snapshot()


def state_at(source: ArchiveSource, zxid: int) -> dict[str, object]:
    return state_of(source.state_at(AsOf(zxid=zxid)).machine)


@pytest.mark.parametrize("seed", range(4))
def test_each_state_is_that_of_the_model(tmp_path: Path, seed: int) -> None:
    """In several timelines, with gaps, with and without encryption."""
    archived = Archived(tmp_path, seed, KEY if seed % 2 else None)
    missed: list[int] = []
    for _ in range(3):
        archived.grow(3)
        missed += archived.add_gap(archived.chance.randrange(2, 5))
    archived.grow(2)
    source = archived.source
    for zxid, state in archived.states.items():
        assert state_at(source, zxid) == state
    for zxid in missed:
        with pytest.raises(ArchiveError, match="nearest states are zxid"):
            source.state_at(AsOf(zxid=zxid))
    assert state_of(source.state_at(ALL).machine) == archived.states[archived.machine.zxid]
    found = [each for each in source.txns(ALL, ALL) if isinstance(each, Txn)]
    assert [txn.header.zxid for txn in found] == [txn.header.zxid for txn in archived.txns]


@pytest.mark.parametrize("seed", range(4))
def test_a_time_gives_the_state_after_the_last_txn_until_then(tmp_path: Path, seed: int) -> None:
    archived = Archived(tmp_path, seed)
    archived.grow(5)
    times = sorted({txn.header.time_ms for txn in archived.txns})
    for time_ms in (*times, times[-1] + 1):
        until = [txn.header.zxid for txn in archived.txns if txn.header.time_ms <= time_ms]
        recovery = archived.source.state_at(AsOf(time_ms=time_ms))
        assert state_of(recovery.machine) == archived.states[until[-1]]
        assert bool(recovery.notes) == (time_ms > times[-1])


def test_a_moment_outside_the_archive_is_refused(tmp_path: Path) -> None:
    archived = Archived(tmp_path, 1)
    archived.grow(1)
    end = archived.machine.zxid
    with pytest.raises(ArchiveError, match=f"ends at zxid 0x{end:x}: zxid 0x{end + 1:x} is not"):
        archived.source.state_at(AsOf(zxid=end + 1))
    with pytest.raises(ArchiveError, match="begins after"):
        archived.source.state_at(AsOf(time_ms=1))


def damaged(folder: Path, name: str, chance: random.Random) -> Iterator[None]:
    """Damage an object in one of several ways; afterwards, put the undamaged object back."""
    path = folder / name
    content = path.read_bytes()
    kind = chance.choice(("flip", "flip", "flip", "cut", "extend", "remove", "swap"))
    others = [each for each in path.parent.iterdir() if each != path and each.is_file()]
    if kind == "cut":
        path.write_bytes(content[: chance.randrange(len(content))])
    elif kind == "extend":
        path.write_bytes(content + chance.randbytes(chance.randrange(1, 50)))
    elif kind == "remove":
        path.unlink()
    elif kind == "swap" and others:
        shutil.copy(chance.choice(others), path)
    else:
        place = chance.randrange(len(content))
        changed = bytes([content[place] ^ chance.randrange(1, 256)])
        path.write_bytes(content[:place] + changed + content[place + 1 :])
    yield
    path.write_bytes(content)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_objects_never_give_a_wrong_state(tmp_path: Path, seed: int) -> None:
    """Each state is that of the model, or is refused; some of both are seen."""
    archived = Archived(tmp_path, seed, KEY if seed % 2 else None)
    archived.grow(4)
    archived.add_gap(3)
    archived.grow(4)
    chance = archived.chance
    store = archived.maker.archive.store
    refused = given = 0
    for name in store.names():
        for _ in damaged(tmp_path, name, chance):
            for zxid in chance.sample(list(archived.states), 4):
                try:
                    source = ArchiveSource(Archive.open(Store(str(tmp_path), store.key)))
                    found = state_at(source, zxid)
                except ArchiveError:
                    refused += 1
                else:
                    given += 1
                    assert found == archived.states[zxid]
    assert refused
    assert given


def test_no_changed_byte_gives_a_wrong_state(tmp_path: Path) -> None:
    """Each byte of each object of a small archive is changed, one at a time."""
    archived = Archived(tmp_path, 7)
    archived.add_segment(3)
    archived.add_snapshot()
    archived.add_segment(3)
    zxids = list(archived.states)
    place = MemoryPlace()
    for name in archived.maker.archive.store.names():
        place.objects[name] = (tmp_path / name).read_bytes()
    refused: list[tuple[str, str]] = []
    given = 0
    for name, content in list(place.objects.items()):
        for at in range(len(content)):
            changed = bytes([content[at] ^ (1 << at % 8)])
            place.objects[name] = content[:at] + changed + content[at + 1 :]
            zxid = zxids[at % len(zxids)]
            try:
                found = state_at(ArchiveSource(archive_in(place)), zxid)
            except ArchiveError as error:
                refused.append((name, str(error)))
            else:
                assert found == archived.states[zxid]
                given += 1
        place.objects[name] = content
    assert refused
    assert all(name in text for name, text in refused)
    assert given


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_instead_of_a_damaged_snapshot_an_older_one_is_used_and_named(tmp_path: Path) -> None:
    archived = Archived(tmp_path, 1)
    archived.add_segment(5)
    name = archived.add_snapshot()
    archived.add_segment(5)
    flip(tmp_path / name)
    recovery = archived.source.state_at(ALL)
    assert state_of(recovery.machine) == archived.states[archived.machine.zxid]
    (note,) = recovery.notes
    assert name in note
    assert "An older snapshot is used" in note


def test_a_damaged_segment_is_named_with_the_last_state_before_it(tmp_path: Path) -> None:
    archived = Archived(tmp_path, 1)
    archived.add_segment(5)
    before = archived.machine.zxid
    name = archived.add_segment(5)
    flip(tmp_path / name)
    with pytest.raises(ArchiveError, match=f"{name} .* --as-of 0x{before:x}$"):
        archived.source.state_at(ALL)
    assert state_at(archived.source, before) == archived.states[before]


def test_gaps_and_missing_objects_are_in_the_history(tmp_path: Path) -> None:
    archived = Archived(tmp_path, 2)
    archived.add_segment(4)
    before = archived.machine.zxid
    archived.add_gap(3)
    after = archived.machine.zxid
    first = archived.add_segment(4)
    hole = (after, archived.machine.zxid)
    archived.add_segment(4)
    (tmp_path / first).unlink()
    found = list(archived.source.txns(ALL, ALL))
    missing = [each for each in found if isinstance(each, MissingTxns)]
    assert [(each.reason, each.after_zxid, each.before_zxid) for each in missing] == [
        ("snapshot", before, after),
        ("objects are missing", *hole),
    ]
    zxids = [each.header.zxid for each in found if isinstance(each, Txn)]
    expected = [txn.header.zxid for txn in archived.txns]
    assert zxids == [zxid for zxid in expected if not hole[0] < zxid <= hole[1]]


def test_the_history_between_two_moments(tmp_path: Path) -> None:
    archived = Archived(tmp_path, 3)
    archived.grow(6)
    archived.add_gap(3)
    archived.grow(2)
    zxids = [txn.header.zxid for txn in archived.txns]
    for _ in range(20):
        since, until = sorted(archived.chance.sample(zxids, 2))
        found = archived.source.txns(AsOf(zxid=since), AsOf(zxid=until))
        inside = [each.header.zxid for each in found if isinstance(each, Txn)]
        assert inside == [zxid for zxid in zxids if since <= zxid <= until]


def test_txns_that_a_leader_cut_off_are_not_in_the_history(tmp_path: Path) -> None:
    archived = Archived(tmp_path, 4)
    archived.add_segment(4)
    base = archived.machine.zxid
    kept = archived.source.state_at(ALL).machine
    archived.add_segment(3)
    archived.maker.begin(kept, archived.txns[-1].header.time_ms, Reason.TRUNCATED)
    archived.history = History(archived.chance, kept)
    del archived.txns[4:]
    archived.add_segment(5)
    found = list(archived.source.txns(ALL, ALL))
    assert [each.header for each in found if isinstance(each, Txn)] == [
        txn.header for txn in archived.txns
    ]
    for zxid in range(base, archived.machine.zxid + 1):
        assert state_at(archived.source, zxid) == archived.states[zxid]


def test_a_moment_whose_txns_are_missing_is_refused_with_its_neighbours(tmp_path: Path) -> None:
    archived = Archived(tmp_path, 6)
    archived.add_segment(3)
    before = archived.machine.zxid
    lost = archived.add_segment(5)
    archived.add_segment(2)
    archived.add_snapshot()
    after = archived.machine.zxid
    (tmp_path / lost).unlink()
    said = f"nearest states are zxid 0x{before:x} before it and zxid 0x{after:x} after it"
    for zxid in range(before + 1, after):
        with pytest.raises(ArchiveError, match=said):
            archived.source.state_at(AsOf(zxid=zxid))
    for zxid in (before, after):
        assert state_at(archived.source, zxid) == archived.states[zxid]


def test_a_missing_timeline_is_not_taken_for_the_end_of_the_archive(tmp_path: Path) -> None:
    archived = Archived(tmp_path, 8)
    archived.add_segment(3)
    archived.add_gap(3)
    archived.add_segment(3)
    (tmp_path / "timelines" / "0002").unlink()
    last_ms = archived.txns[-1].header.time_ms
    with pytest.raises(ArchiveError, match=r"timelines/0002 .* does not exist"):
        archived.source.state_at(AsOf(time_ms=last_ms))
    with pytest.raises(ArchiveError, match=r"timelines/0002 .* does not exist"):
        list(archived.source.txns(ALL, ALL))


def test_an_encrypted_archive_needs_its_key(tmp_path: Path) -> None:
    Archived(tmp_path, 5, KEY).grow(1)
    with pytest.raises(ArchiveError, match="--key-file"):
        Archive.open(Store(str(tmp_path)))
