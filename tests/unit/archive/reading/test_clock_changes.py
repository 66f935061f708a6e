"""A time gives the correct state although the clock of the server was changed, or is refused."""

import random
import re
import time
from pathlib import Path

import pytest

from tests.support.archiving import ArchiverRun, MemoryPlace, archive_in
from tests.support.histories import state_of
from tests.support.writer import Writer
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.names import SegmentName, parse_name
from zoolet.archive.reading.archive_source import ArchiveSource
from zoolet.archive.reading.directory_source import DirectorySource as ReadDirectory
from zoolet.archive.reading.source import Source
from zoolet.archive.writing.sources import DirectorySource
from zoolet.model.txns import Txn
from zoolet.storage.errors import StorageError
from zoolet.storage.recovery import ALL, AsOf

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
YEAR_MS = 365 * 24 * HOUR_MS


class Server:
    """A server whose clock is changed; its txns are 10 minutes apart.

    Attributes:
        states: the true time of each txn, and the state after it.
    """

    def __init__(self, directory: Path) -> None:
        self.place = MemoryPlace()
        self.true_ms = int(time.time() * 1000) - 40 * HOUR_MS
        self.offset_ms = 0
        self.writer = Writer(directory)
        self.states: list[tuple[int, dict[str, object]]] = []

    def step(self, chance: random.Random) -> None:
        self.true_ms += 10 * MINUTE_MS
        self.writer.time_ms = self.true_ms + self.offset_ms
        self.writer.create(f"/{len(self.states)}")
        self.states.append((self.true_ms, state_of(self.writer.machine)))
        if chance.random() < 0.2:
            self.writer.snapshot()
        if chance.random() < 0.5:
            self.archive()

    def archive(self) -> None:
        source = DirectorySource(self.writer.directories)
        ArchiverRun(self.place, source, now_ms=lambda: self.true_ms).run()

    @property
    def archived(self) -> ArchiveSource:
        """The archive as a source."""
        return ArchiveSource(archive_in(self.place))


def server_with(directory: Path, chance: random.Random, offset_ms: int) -> tuple[Server, int, int]:
    """Return a server whose clock was wrong for some txns, and when it became wrong and right."""
    server = Server(directory)
    begin, end = chance.randrange(3, 8), chance.randrange(10, 15)
    for number in range(25):
        server.offset_ms = offset_ms if begin <= number < end else 0
        server.step(chance)
    server.archive()
    return server, server.states[begin][0], server.states[end][0]


@pytest.mark.parametrize("seed", range(2))
def test_a_clock_that_was_a_year_ahead_for_some_time(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    server, begin_ms, end_ms = server_with(tmp_path, chance, YEAR_MS)
    for true_ms, state in server.states:
        if not begin_ms <= true_ms < end_ms:
            recovery = server.archived.state_at(AsOf(time_ms=true_ms))
            assert state_of(recovery.machine) == state
    for true_ms, _ in server.states:
        if true_ms >= end_ms:
            with pytest.raises(StorageError, match="not unique"):
                ReadDirectory(server.writer.directories).state_at(AsOf(time_ms=true_ms))
    times = [true_ms for true_ms, _ in server.states if not begin_ms <= true_ms < end_ms]
    for source in (server.archived, ReadDirectory(server.writer.directories)):
        found = list(source.txns(AsOf(time_ms=times[0]), AsOf(time_ms=times[-1])))
        assert [each.header.time_ms for each in found if isinstance(each, Txn)] == times


@pytest.mark.parametrize("seed", range(4))
def test_a_time_that_is_not_unique_is_refused_with_zxids(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    offset_ms = chance.choice((-1, 1)) * chance.randrange(30 * MINUTE_MS, 3 * HOUR_MS)
    server, begin_ms, end_ms = server_with(tmp_path, chance, offset_ms)
    refused = 0
    for source in (server.archived, ReadDirectory(server.writer.directories)):
        refused += check_times(server, source, begin_ms, end_ms)
    assert refused


def check_times(server: Server, source: Source, begin_ms: int, end_ms: int) -> int:
    """Check that each time gives its true state or is refused; return how many are refused."""
    refused = 0
    for true_ms, state in server.states:
        if begin_ms <= true_ms < end_ms:
            continue
        try:
            recovery = source.state_at(AsOf(time_ms=true_ms))
        except (ArchiveError, StorageError) as error:
            refused += bool(re.search("not unique: .* 0x", str(error)))
        else:
            assert state_of(recovery.machine) == state
    return refused


def test_segments_of_the_future_are_merged(tmp_path: Path) -> None:
    server = Server(tmp_path)
    chance = random.Random(1)
    for number in range(30):
        server.offset_ms = YEAR_MS if 5 <= number < 25 else 0
        server.step(chance)
        server.archive()
    parsed = [parse_name(name) for name in server.place.objects]
    segments = [each for each in parsed if isinstance(each, SegmentName)]
    ahead = [each for each in segments if each.last_ms > server.true_ms + YEAR_MS // 2]
    assert 4 <= len(ahead) <= 6, "20 txns, one each 10 minutes, in segments for each hour"
    assert all(each.first_ms <= each.last_ms for each in segments)
    assert state_of(server.archived.state_at(ALL).machine) == server.states[-1][1]
