"""The tables of the history, in SQLite and PostgreSQL: one row for a job, searched by indexes."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.postgresql import PostgresqlServer
from zoolet.jobs import ResultStoreError
from zoolet.jobs.history.database import HistoryDatabase
from zoolet.jobs.history.entries import HistoryEntry, HistoryFilter, HistoryPosition
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.results.store import ResultStore


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgresqlServer]:
    with PostgresqlServer() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/results.db"
        return
    found = request.getfixturevalue("postgresql").url
    yield found
    engine = sa.create_engine(found)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS zoolet_history, zoolet_queues"))
    engine.dispose()


@pytest.fixture
def database(url: str) -> Iterator[HistoryDatabase]:
    store = ResultStore(url)
    yield HistoryDatabase(store, "/jobs/a")
    store.close()


def entry(number: int, **fields: Any) -> HistoryEntry:
    plain = HistoryEntry(
        f"entry-000-d:{number}-{number:010d}", f"s-{number}", "m:f", "d", str(number), "SUCCESSFUL",
        None, 0, 1, 3, "w", 1, 2, 1000 + number, "", '{"parameters": {}}',
    )  # fmt: skip
    return plain._replace(**fields)


def found(database: HistoryDatabase, **wanted: Any) -> list[HistoryEntry]:
    return [one for _, one in database.search(HistoryFilter(**wanted), 1000, None)]


def test_a_job_has_one_row_however_often_it_is_recorded(
    database: HistoryDatabase, url: str
) -> None:
    first, second = entry(1, state="FAILED", last_error="no"), entry(2)
    database.record([first, second, first])
    database.record([second._replace(attempts=2)])
    assert found(database) == [second._replace(attempts=2), first]
    other = ResultStore(url)
    others = HistoryDatabase(other, "/jobs/b")
    assert found(others) == []
    others.record([first])
    assert found(others) == [first]
    assert len(found(database)) == 2
    other.close()


def test_several_workers_record_the_same_jobs_at_once(url: str) -> None:
    stores = [ResultStore(url) for _ in range(4)]
    entries = [entry(number) for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        # The first of them creates the tables; a worker tries again after an error.
        databases = [HistoryDatabase(store, "/jobs/a") for store in stores]
        databases[0].record(entries[:1])
        list(pool.map(lambda database: database.record(entries), databases))
    assert found(databases[0]) == entries[::-1]
    for store in stores:
        store.close()


@pytest.mark.parametrize("seed", range(3))
def test_random_searches_equal_a_filter_in_python(database: HistoryDatabase, seed: int) -> None:
    random_ = random.Random(seed)
    texts = ["", "OSError: no", "ValueError: 5% _off", "timeout"]
    entries = [
        entry(
            number,
            task=random_.choice(["m:f", "m:g"]),
            batch=random_.choice([None, "b1", "b2"]),
            last_error=(error := random_.choice(texts)),
            state="FAILED" if error and random_.random() < 0.5 else "SUCCESSFUL",
            finished_ms=random_.randrange(40),
        )
        for number in range(120)
    ]
    rows = entries + random_.sample(entries, 30)
    random_.shuffle(rows)
    for start in range(0, len(rows), 50):
        database.record(rows[start : start + 50])
    for _ in range(40):
        wanted = random_filter(random_)
        expected = [one for one in entries if matches(wanted, one)]
        limit, pages, after = random_.randrange(1, 30), [], None
        while page := database.search(wanted, limit, after):
            assert len(page) <= limit
            pages += page
            after = page[-1][0]
        assert sorted(one for _, one in pages) == sorted(expected)
        positions = [position for position, _ in pages]
        assert positions == sorted(positions, reverse=True)


def random_filter(random_: random.Random) -> HistoryFilter:
    def maybe(values: list[Any]) -> Any:
        return random_.choice(values) if random_.random() < 0.3 else None

    return HistoryFilter(
        state=maybe([JobState.FAILED, JobState.SUCCESSFUL]),
        task=maybe(["m:f", "m:none"]),
        batch=maybe(["b1", "none"]),
        job=maybe([entry(7).job]),
        error=maybe(["5%", "Error", "error", "_"]),
        since_ms=maybe([10, 39]),
        until_ms=maybe([30, 0]),
    )


def matches(wanted: HistoryFilter, one: HistoryEntry) -> bool:
    return (
        wanted.state in {None, one.state}
        and wanted.task in {None, one.task}
        and wanted.batch in {None, one.batch}
        and wanted.job in {None, one.job}
        and (wanted.error is None or wanted.error in one.last_error)
        and (wanted.since_ms is None or one.finished_ms >= wanted.since_ms)
        and (wanted.until_ms is None or one.finished_ms < wanted.until_ms)
    )


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "zoolet_history_end"),
        ({"since_ms": 1, "until_ms": 9}, "zoolet_history_end"),
        ({"state": JobState.FAILED}, "zoolet_history_error"),
        ({"error": "x"}, "zoolet_history_error"),
        ({"task": "m:f"}, "zoolet_history_task"),
        ({"batch": "b"}, "zoolet_history_batch"),
        ({"job": "entry-000-d:1-0000000001"}, "sqlite_autoindex_zoolet_history_1"),
    ],
)
def test_searches_follow_an_index_and_sort_nothing(
    tmp_path: Path, wanted: dict[str, Any], index: str
) -> None:
    store = ResultStore(f"sqlite:///{tmp_path}/results.db")
    database = HistoryDatabase(store, "/jobs/a")
    database.record([entry(number, batch="b") for number in range(5)])
    queries: list[tuple[str, Any]] = []

    @sa.event.listens_for(store._engine, "before_cursor_execute")
    def note(_: Any, __: Any, text: str, values: Any, *___: Any) -> None:
        if "FROM zoolet_history" in text:
            queries.append((text, values))

    database.search(HistoryFilter(**wanted), 10, HistoryPosition(1003, 3))
    [(text, values)] = queries
    with store._engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
    steps = [str(row[-1]) for row in plan]
    assert [index in step for step in steps if step.startswith("SEARCH")] == [True], steps
    assert "job" in wanted or not any("TEMP B-TREE" in step for step in steps), steps
    store.close()


def test_other_databases_delete_the_earlier_row_and_find_it_by_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ResultStore, "dialect", "other")
    store = ResultStore(f"sqlite:///{tmp_path}/results.db")
    database = HistoryDatabase(store, "/jobs/a")
    database.record([entry(1)])
    queries: list[tuple[str, Any]] = []

    @sa.event.listens_for(store._engine, "before_cursor_execute")
    def note(_: Any, __: Any, text: str, values: Any, *___: Any) -> None:
        if text.startswith("DELETE"):
            queries.append((text, values))

    database.record([entry(1), entry(2)])
    [(text, values)] = queries
    assert len(values) == 2
    with store._engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values[0]).all()
    assert "(queue=? AND job=? AND submission=?)" in str(plan[0][-1])
    assert found(database, error=None) == [entry(2), entry(1)]
    store.close()


def test_a_database_that_does_not_reply() -> None:
    store = ResultStore("postgresql+psycopg://nobody@127.0.0.1:1/none")
    database = HistoryDatabase(store, "/jobs/a")
    with pytest.raises(ResultStoreError, match="did not record the history"):
        database.record([entry(1)])
    with pytest.raises(ResultStoreError, match="did not search the history"):
        database.search(HistoryFilter(), 1, None)
    store.close()
