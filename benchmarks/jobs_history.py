"""Measures searches of the history of jobs with many rows in SQLite.

Usage: python -m benchmarks.jobs_history [ROWS]. 10,000,000 rows need about 4 GB of disk below
``--directory``, by default the system's directory for temporary files.
"""

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from zoolet.jobs.history.database import HistoryDatabase
from zoolet.jobs.history.entries import HistoryEntry, HistoryFilter, HistoryPosition
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.results.store import ResultStore

CONSOLE: Final = Console(highlight=False, soft_wrap=True)
PAGE: Final = 50
SEARCHES: Final = 20
WRITTEN: Final = 5000
AT_ONCE: Final = 50
TASKS: Final = [f"reports.{name}:run" for name in ("daily", "weekly", "mail", "clean", "index")]
FILTERS: Final[dict[str, dict[str, Any]]] = {
    "all": {},
    "state FAILED": {"state": JobState.FAILED},
    "one task": {"task": TASKS[2]},
    "one batch": {"batch": "batch-77"},
    "one job": {},
    "a text in the error": {"error": "reference 4"},
    "a day in the middle": {},
    "one task, FAILED": {"task": TASKS[2], "state": JobState.FAILED},
}
DAY_MS: Final = 86_400_000
START_MS: Final = 1_700_000_000_000


def entry(number: int, random_: random.Random) -> HistoryEntry:
    """Return a job; about one in a hundred has failed."""
    has_failed = random_.random() < 0.01
    at_ms = START_MS + number * 20
    return HistoryEntry(
        job=f"entry-000-_:{number % 2**32:08x}-{number:010d}",
        submission=f"{number // 1000:016x}-{number % 1000}",
        task=random_.choice(TASKS),
        dataset=None,
        groupid=None,
        state="FAILED" if has_failed else "SUCCESSFUL",
        batch=f"batch-{number // 1000}" if number % 3 == 0 else None,
        priority=0,
        attempts=3 if has_failed else 1,
        max_attempts=3,
        worker="host-1-0123456789ab",
        submitted_ms=at_ms,
        started_ms=at_ms + 10,
        finished_ms=at_ms + random_.randrange(1000),
        last_error=f"OSError: reference {number}" if has_failed else "",
        details='{"parameters": {"n": 1}, "errors": [], "losses": 0}',
    )


def fill(path: Path, rows: int, random_: random.Random) -> None:
    """Write all rows but those that are measured, without the cost of safe writes."""
    columns = [*HistoryEntry._fields, "queue", "has_error"]

    def values() -> Iterator[tuple[Any, ...]]:
        for number in range(1, rows):
            one = entry(number, random_)
            yield (*one, 1, int(bool(one.last_error)))

    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-500000")
    places = ",".join("?" * len(columns))
    connection.executemany(
        f"INSERT INTO zoolet_history ({','.join(columns)}) VALUES ({places})",  # noqa: S608
        values(),
    )
    connection.commit()
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()


def search_ms(database: HistoryDatabase, wanted: HistoryFilter) -> tuple[float, float, int]:
    """Return the times of a first page and of a page behind it, and the rows of both."""
    began = time.perf_counter()
    page = database.search(wanted, PAGE, None)
    first_ms = 1000 * (time.perf_counter() - began)
    after = page[-1][0] if page else HistoryPosition(0, 0)
    began = time.perf_counter()
    found = 0
    for _ in range(SEARCHES):
        following = database.search(wanted, PAGE, after)
        found += len(following)
        if not following:
            break
        after = following[-1][0]
    return first_ms, 1000 * (time.perf_counter() - began) / SEARCHES, len(page) + found


def main() -> None:
    """Fill the database and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=10_000_000)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    random_ = random.Random(1)  # noqa: S311 -- reproducible
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        path = Path(directory) / "results.db"
        store = ResultStore(f"sqlite:///{path}")
        database = HistoryDatabase(store, "/jobs/bench")
        database.record([entry(0, random_)])
        began = time.monotonic()
        fill(path, options.rows, random_)
        size = path.stat().st_size
        CONSOLE.print(
            f"{options.rows:,} rows, {size / 2**30:.1f} GiB, {time.monotonic() - began:.0f} s"
        )
        middle = START_MS + options.rows * 10
        special = {
            "one job": {"job": entry(options.rows // 2, random_).job},
            "a day in the middle": {"since_ms": middle, "until_ms": middle + DAY_MS},
        }
        for name, fields in FILTERS.items():
            wanted = HistoryFilter(**(fields | special.get(name, {})))
            first_ms, next_ms, found = search_ms(database, wanted)
            CONSOLE.print(
                f"{name}: first page {first_ms:.1f} ms, next pages {next_ms:.1f} ms, {found} rows"
            )
        began = time.perf_counter()
        for start in range(0, WRITTEN, AT_ONCE):
            numbers = range(options.rows + start, options.rows + start + AT_ONCE)
            database.record([entry(number, random_) for number in numbers])
        rate = WRITTEN / (time.perf_counter() - began)
        CONSOLE.print(f"recorded {rate:,.0f} jobs per second, {AT_ONCE} in a transaction")
        store.close()


if __name__ == "__main__":
    main()
