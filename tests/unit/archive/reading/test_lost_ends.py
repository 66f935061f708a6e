"""If the newest objects of an archive are lost, no older state is given in their place."""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.archiving import ArchiverRun, MemoryPlace, archive_in
from tests.support.histories import state_of
from tests.support.writer import Writer
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.names import SegmentName, parse_name
from zoolet.archive.reading.archive_source import ArchiveSource
from zoolet.archive.reading.source import MissingTxns
from zoolet.archive.writing.sources import DirectorySource
from zoolet.storage.recovery import ALL, AsOf


def archived(writer: Writer, place: MemoryPlace, count: int) -> None:
    """Archive txns in ``count`` segments, each a second after the one before it."""
    for number in range(count):
        writer.time_ms += 1000
        writer.create(f"/{len(place.objects)}-{number}")
        ArchiverRun(place, DirectorySource(writer.directories), now_ms=lambda: 100).run()


def newest_segment(place: MemoryPlace) -> SegmentName:
    parsed = (parse_name(name) for name in place.objects)
    return max(each for each in parsed if isinstance(each, SegmentName))


def test_a_restore_tells_what_is_lost_and_how_to_get_the_newest_state(tmp_path: Path) -> None:
    place, writer = MemoryPlace(), Writer(tmp_path)
    archived(writer, place, 3)
    lost = newest_segment(place)
    del place.objects[str(lost)]
    source = ArchiveSource(archive_in(place))
    said = f"after zxid 0x{lost.after_zxid:x} up to 0x{lost.last_zxid:x} .* do not exist"
    for moment in (ALL, AsOf(time_ms=lost.last_ms), AsOf(zxid=lost.last_zxid)):
        with pytest.raises(ArchiveError, match=f"{said}.*--as-of 0x{lost.after_zxid:x}"):
            source.state_at(moment)
    assert source.state_at(AsOf(zxid=lost.after_zxid)).machine.zxid == lost.after_zxid
    earlier = AsOf(time_ms=lost.first_ms - 1500)
    assert source.state_at(earlier).machine.zxid == lost.after_zxid - 1
    missing = list(source.txns(ALL, ALL))[-1]
    assert isinstance(missing, MissingTxns)
    assert (missing.after_zxid, missing.before_zxid) == (lost.after_zxid, lost.last_zxid)


def test_an_archiver_archives_the_lost_txns_again_if_the_logs_have_them(tmp_path: Path) -> None:
    place, writer = MemoryPlace(), Writer(tmp_path)
    archived(writer, place, 3)
    del place.objects[str(newest_segment(place))]
    archived(writer, place, 1)
    recovery = ArchiveSource(archive_in(place)).state_at(ALL)
    assert state_of(recovery.machine) == state_of(writer.machine)


@pytest.mark.parametrize("seed", range(4))
def test_no_lost_object_gives_an_older_state(seed: int, tmp_path: Path) -> None:
    """A moment gives its state, or is refused, whichever objects are lost."""
    chance = random.Random(seed)
    place, writer = MemoryPlace(), Writer(tmp_path)
    states = {}
    for _ in range(5):
        archived(writer, place, 1)
        states[writer.time_ms] = state_of(writer.machine)
    kept = dict(place.objects)
    refused = 0
    for _ in range(30):
        names = [name for name in kept if name.startswith(("txns/", "snapshots/", "timelines/"))]
        lost = chance.sample(names, chance.randrange(1, 3))
        place.objects = {name: data for name, data in kept.items() if name not in lost}
        for time_ms, state in states.items():
            try:
                recovery = ArchiveSource(archive_in(place)).state_at(AsOf(time_ms=time_ms))
            except ArchiveError:
                refused += 1
            else:
                assert state_of(recovery.machine) == state
        with suppress(ArchiveError):
            machine = ArchiveSource(archive_in(place)).state_at(ALL).machine
            assert state_of(machine) == states[max(states)]
    assert refused
