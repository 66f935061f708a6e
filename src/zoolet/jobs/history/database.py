"""The tables of the history, in the database of a result store.

Invariants:

- A job has at most one row, however often it is recorded; the last record counts.
- A search reads a page of rows in the order of an index, and never counts or skips rows. So its
  time does not depend on the number of rows, except with a filter that few rows match and that no
  index has: several filters together, and the text of an error.

This module imports `zoolet.jobs.results` and other modules of its package.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from zoolet.jobs.history.entries import (
    ERROR_CHARACTERS,
    ID_CHARACTERS,
    NAME_CHARACTERS,
    TASK_CHARACTERS,
    HistoryEntry,
    HistoryFilter,
    HistoryPosition,
)
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.results.store import ResultStore

_TRIES: Final = 10
"""The most tries of a write that another program's write of the same rows refuses."""
WRITE_S: Final = 5.0
"""The time limit of a write, in seconds. The worker that writes also releases deferred jobs, so it
cannot wait for long."""
_ROOT_CHARACTERS: Final = 500
_WITH_UPSERT: Final = frozenset({"sqlite", "postgresql"})
"""The databases whose insert can replace a row. In others, the row is deleted first."""
_KEY: Final = ("queue", "job", "submission")
_HAS_ERROR: Final = "has_error = 1"
"""The condition of the index of errors. A query must contain exactly this text to use the index."""


class HistoryDatabase:
    """The history of one queue, in the database of ``store``; ``root`` is the queue's root."""

    def __init__(self, store: ResultStore, root: str) -> None:
        self._store = store
        self._root = root
        self._queue: int | None = None
        sa = self._sa = store.sqlalchemy
        number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
        self._tables = sa.MetaData()
        self._queues = sa.Table(
            "zoolet_queues",
            self._tables,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("root", sa.String(_ROOT_CHARACTERS), nullable=False, unique=True),
        )
        table = self._table = sa.Table(
            "zoolet_history",
            self._tables,
            sa.Column("id", number, primary_key=True, autoincrement=True),
            sa.Column("queue", sa.Integer, nullable=False),
            sa.Column("job", sa.String(NAME_CHARACTERS), nullable=False),
            sa.Column("submission", sa.String(ID_CHARACTERS), nullable=False),
            sa.Column("task", sa.String(TASK_CHARACTERS), nullable=False),
            sa.Column("dataset", sa.String(NAME_CHARACTERS)),
            sa.Column("groupid", sa.String(NAME_CHARACTERS)),
            sa.Column("state", sa.String(10), nullable=False),
            sa.Column("batch", sa.String(NAME_CHARACTERS)),
            sa.Column("priority", sa.Integer, nullable=False),
            sa.Column("attempts", sa.Integer, nullable=False),
            sa.Column("max_attempts", sa.Integer, nullable=False),
            sa.Column("worker", sa.String(NAME_CHARACTERS)),
            sa.Column("submitted_ms", sa.BigInteger, nullable=False),
            sa.Column("started_ms", sa.BigInteger),
            sa.Column("finished_ms", sa.BigInteger, nullable=False),
            sa.Column("last_error", sa.String(ERROR_CHARACTERS), nullable=False),
            sa.Column("details", sa.Text, nullable=False),
            sa.Column("has_error", sa.SmallInteger, nullable=False),
            sa.UniqueConstraint(*_KEY, name="zoolet_history_job"),
        )
        order = (table.c.finished_ms, table.c.id)
        sa.Index("zoolet_history_end", table.c.queue, *order)
        sa.Index("zoolet_history_task", table.c.queue, table.c.task, *order)
        in_batch = table.c.batch.is_not(None)
        sa.Index(
            "zoolet_history_batch", table.c.queue, table.c.batch, *order,
            sqlite_where=in_batch, postgresql_where=in_batch,
        )  # fmt: skip
        with_error = sa.text(_HAS_ERROR)
        sa.Index(
            "zoolet_history_error", table.c.queue, table.c.has_error, *order,
            sqlite_where=with_error, postgresql_where=with_error,
        )  # fmt: skip

    def record(self, entries: Sequence[HistoryEntry]) -> None:
        """Write entries; an entry of the same job and submission is replaced.

        Raises:
            ResultStoreError: the database did not store the entries; none was stored.
        """
        if not entries:
            return
        rows = {(entry.job, entry.submission): entry for entry in entries}

        def write(connection: Any) -> None:
            queue = self._queue_number(connection)
            # In one order, so that two programs that write the same rows do not block each other.
            values = [
                rows[key]._asdict() | {"queue": queue, "has_error": int(bool(rows[key].last_error))}
                for key in sorted(rows)
            ]
            self._replace(connection, values)

        # Another worker that does the housekeeping may write the same rows at the same time.
        self._store.run("record the history", write, self._tables, tries=_TRIES, timeout_s=WRITE_S)

    def _replace(self, connection: Any, values: list[dict[str, Any]]) -> None:
        table, sa = self._table, self._sa
        if self._store.dialect in _WITH_UPSERT:
            dialect = import_module(f"sqlalchemy.dialects.{self._store.dialect}")
            insert = dialect.insert(table)
            changed = {name: insert.excluded[name] for name in values[0]}
            connection.execute(
                insert.on_conflict_do_update(index_elements=_KEY, set_=changed), values
            )
            return
        # One statement with all names would read the whole table in some databases.
        conditions = [table.c[name] == sa.bindparam(f"of_{name}") for name in _KEY]
        keys = [{f"of_{name}": one[name] for name in _KEY} for one in values]
        connection.execute(table.delete().where(*conditions), keys)
        connection.execute(table.insert(), values)

    def _queue_number(self, connection: Any) -> int:
        if self._queue is None:
            found = self._find_queue(connection)
            if found is None:
                connection.execute(self._queues.insert().values(root=self._root))
                # The transaction may be rolled back, so this number is not remembered yet.
                return int(self._find_queue(connection) or 0)
            self._queue = found
        return self._queue

    def _find_queue(self, connection: Any) -> int | None:
        query = self._sa.select(self._queues.c.id).where(self._queues.c.root == self._root)
        found = connection.execute(query).scalar_one_or_none()
        return None if found is None else int(found)

    def search(
        self,
        wanted: HistoryFilter,
        limit: int,
        after: HistoryPosition | None,
        timeout_s: float | None = None,
    ) -> list[tuple[HistoryPosition, HistoryEntry]]:
        """Return up to ``limit`` entries, the latest first, each with its position.

        ``after`` is the position of the last entry of the page before; None: the first page.
        ``timeout_s`` is the time limit, in seconds (`ResultStore.run`).

        Raises:
            ResultStoreError: the database cannot be read.
        """
        table, sa = self._table, self._sa
        columns = [table.c[name] for name in HistoryEntry._fields]
        # A job's name has few rows. SQLite must find them by the name, not by their ends, to sort
        # nothing. The sum is not in an index.
        end = table.c.finished_ms if wanted.job is None else table.c.finished_ms + 0

        def read(connection: Any) -> list[Any]:
            queue = self._find_queue(connection)
            if queue is None:
                return []
            query = (
                sa.select(table.c.id, *columns)
                .where(table.c.queue == queue, *self._conditions(wanted, end))
                .order_by(end.desc(), table.c.id.desc())
                .limit(limit)
            )
            if after is not None:
                order = sa.tuple_(end, table.c.id)
                query = query.where(order < sa.tuple_(after.finished_ms, after.number))
            return list(connection.execute(query).all())

        rows = self._store.run("search the history", read, self._tables, timeout_s=timeout_s)
        found = [(int(number), HistoryEntry(*values)) for number, *values in rows]
        return [(HistoryPosition(entry.finished_ms, number), entry) for number, entry in found]

    def _conditions(self, wanted: HistoryFilter, end: Any) -> list[Any]:
        table = self._table
        found: list[Any] = [
            table.c[name] == getattr(wanted, name)
            for name in ("state", "task", "batch", "job")
            if getattr(wanted, name) is not None
        ]
        if wanted.error is not None or wanted.state is JobState.FAILED:
            found.append(self._sa.text(_HAS_ERROR))
        if wanted.error is not None:
            found.append(self._contains(wanted.error))
        if wanted.since_ms is not None:
            found.append(end >= wanted.since_ms)
        if wanted.until_ms is not None:
            found.append(end < wanted.until_ms)
        return found

    def _contains(self, text: str) -> Any:
        # LIKE ignores the case in SQLite, and has special characters.
        names = {"sqlite": "instr", "postgresql": "strpos"}
        name = names.get(self._store.dialect)
        if name is None:
            return self._table.c.last_error.contains(text, autoescape=True)
        return getattr(self._sa.func, name)(self._table.c.last_error, text) > 0
