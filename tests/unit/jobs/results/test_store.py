"""A result store that does not answer: each call ends, and the next one finds the store again."""

import gc
import socket
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa

from tests.support.postgresql import PostgresqlServer
from tests.support.waiting import wait_until
from zoolet.jobs.errors import ResultStoreError
from zoolet.jobs.results import store as store_module
from zoolet.jobs.results.store import ResultStore

CALLS: dict[str, Callable[[ResultStore], object]] = {
    "store a result": lambda store: store.put("key", b"new"),
    "read a result": lambda store: store.get("key"),
    "remove results": lambda store: store.delete(["key"]),
}
Database = tuple[str, Callable[[], AbstractContextManager[None]]]
"""The URL of a database, and what lets it hang for a while."""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgresqlServer]:
    with PostgresqlServer() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/results.db", lambda: locked_file(tmp_path / "results.db")
    url = request.getfixturevalue("postgresql").url
    return url, lambda: locked_table(url)


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def locked_table(url: str) -> Iterator[None]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE zoolet_results IN ACCESS EXCLUSIVE MODE"))
        yield


@pytest.mark.parametrize("what", CALLS)
def test_a_call_ends_if_the_database_does_not_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    url, hangs = database
    store = ResultStore(url)
    store.put("key", b"old")
    with hangs():
        monkeypatch.setattr(store_module, "TIMEOUT_S", 0.3)
        with pytest.raises(ResultStoreError, match=rf"did not {what} within 0\.3 s"):
            CALLS[what](store)
        monkeypatch.undo()
    store.put("key", b"newest")
    # What was left behind may end before this or after it, as if two had called.
    wait_until(lambda: store.get("key") in {b"new", b"newest", None}, "an answer")
    store.close()


def test_calls_that_store_the_same_key_at_once_all_succeed(database: Database) -> None:
    store = ResultStore(database[0])
    store.put("key", b"old")
    others = [ResultStore(database[0]) for _ in range(3)]
    with ThreadPoolExecutor(len(others)) as pool:
        for _ in range(20):
            values = [b"%d" % number for number in range(len(others))]
            list(pool.map(lambda one, value: one.put("key", value), others, values))
            assert store.get("key") in values
    for one in (store, *others):
        one.close()


def test_programs_that_create_the_tables_at_once_all_succeed(tmp_path: Path) -> None:
    for round_ in range(10):
        stores = [ResultStore(f"sqlite:///{tmp_path}/{round_}.db") for _ in range(4)]
        together = Barrier(len(stores))

        def put(store: ResultStore, together: Barrier = together) -> None:
            together.wait()
            store.put("key", b"value")

        with ThreadPoolExecutor(len(stores)) as pool:
            list(pool.map(put, stores))
        for store in stores:
            assert store.get("key") == b"value"
            store.close()


def test_a_call_ends_if_a_server_accepts_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://user:secret@127.0.0.1:{silent.getsockname()[1]}/database"
        store = ResultStore(url)
        for call in (lambda: store.id, lambda: store.get("key")):
            with pytest.raises(ResultStoreError, match=r"within 0\.3 s") as raised:
                call()
            assert "secret" not in str(raised.value)
        store.close()


def test_an_error_of_the_database_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "results.db").write_bytes(b"this is no database" * 100)
    store = ResultStore(f"sqlite:///{tmp_path}/results.db")
    with pytest.raises(ResultStoreError, match=r"did not read a result: file is not a database"):
        store.get("key")


def test_a_store_that_nobody_closes_closes_its_connections(tmp_path: Path) -> None:
    """A program that reads one large result closes nothing; Python 3.13 would warn."""
    store = ResultStore(f"sqlite:///{tmp_path}/results.db")
    store.put("key", b"value")
    pool = store._engine.pool
    assert pool.checkedin() == 1
    del store
    # The thread of the call may still have a reference.
    wait_until(lambda: gc.collect() >= 0 and pool.checkedin() == 0, "the end of the connection")
