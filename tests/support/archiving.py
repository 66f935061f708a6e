"""An archiver in a test, and a store that fails."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from zoolet.archive.store.archive import Archive
from zoolet.archive.store.store import Store
from zoolet.archive.writing.ownership import Ownership
from zoolet.archive.writing.retention import Rules
from zoolet.archive.writing.retrying import Retrier, Stopping
from zoolet.archive.writing.snapshots import HOUR_MS, Housekeeping
from zoolet.archive.writing.sources import Source
from zoolet.archive.writing.status import Status
from zoolet.archive.writing.uploader import Uploader

KEEPS_ALL = Rules(1_000_000, 1_000_000)


class Killed(BaseException):
    """The process of the archiver ends here."""


class MemoryPlace:
    """A place in memory, which fails or ends the archiver when a test wants it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.times_ms: dict[str, int] = {}
        self.now_ms: Callable[[], int] = lambda: int(time.time() * 1000)
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def sizes(self, prefix: str) -> dict[str, int]:
        self.before()
        return {name: len(data) for name, data in self.objects.items() if name.startswith(prefix)}

    def blocks(self, name: str) -> Iterator[bytes]:
        self.before()
        if name not in self.objects:
            raise FileNotFoundError(name)
        yield self.objects[name]

    def write(self, name: str, blocks: Iterable[bytes], *, replaces: bool = True) -> None:
        self.before()
        data = b"".join(blocks)
        if not replaces and name in self.objects:
            raise FileExistsError(name)
        self.objects[name] = data
        self.times_ms[name] = self.now_ms()
        self.after()

    def delete(self, name: str) -> None:
        self.before()
        self.objects.pop(name, None)
        self.after()

    def modified_ms(self, name: str) -> int:
        return self.times_ms[name]

    def remove_unfinished(self) -> None:
        pass


class RandomFaults:
    """Lets the requests to a place fail, or ends the archiver, by chance."""

    def __init__(self, place: MemoryPlace, chance: random.Random) -> None:
        self._chance = chance
        self.is_on = True
        place.before = place.after = self._maybe

    def _maybe(self) -> None:
        if not self.is_on:
            return
        if self._chance.random() < 0.08:
            raise OSError(5, "the store fails")
        if self._chance.random() < 0.02:
            raise Killed


class ArchiverRun:
    """One process of an archiver; ``run`` does one pass of it."""

    def __init__(
        self,
        place: MemoryPlace,
        source: Source,
        rules: Rules = KEEPS_ALL,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        snapshot_interval_ms: int = HOUR_MS,
    ) -> None:
        self.status = Status()
        stopping = Stopping(60)
        retrier = Retrier(stopping, self.status, lambda _delay_s: None)
        store = Store("memory", place=place)
        self.archive = retrier.call("opening", lambda: Archive.open_or_create(store))
        self.ownership = retrier.call("owning", lambda: Ownership.take(self.archive))
        self.housekeeping = Housekeeping(
            self.archive,
            source,
            self.ownership,
            retrier,
            self.status,
            rules,
            now_ms,
            snapshot_interval_ms,
        )
        self.uploader = Uploader(
            self.archive,
            source,
            self.ownership,
            self.housekeeping,
            retrier,
            self.status,
            stopping,
            0.01,
        )

    def run(self) -> None:
        """Upload everything that there is, and do the hourly work if its time has come."""
        self.uploader.run(once=True)
        with suppress(OSError):
            self.ownership.release()


def archive_in(place: MemoryPlace) -> Archive:
    return Archive.open(Store("memory", place=place))
