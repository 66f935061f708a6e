"""Where large results are kept: a table in any database that SQLAlchemy reaches.

What holds: a result is stored before the job that refers to it comes to stand under done, under a
key that no other attempt uses. So a result that nobody refers to may be left behind by a worker
that died in between, and a reference without its result never. Imports the job system's records.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoolet.jobs.errors import ResultRefusedError, ResultStoreError, UnreadableJobError
from zoolet.jobs.jsonvalues import decode_json
from zoolet.jobs.records import Job

if TYPE_CHECKING:
    from zoolet.jobs.queue import JobQueue

_DELETE_AT_ONCE = 500


def default_url() -> str:
    """Return the URL of the store of this machine: a file of SQLite in the user's home."""
    return f"sqlite:///{Path.home() / '.zoolet' / 'results.db'}"


def key_of(job: Job) -> str:
    """Return the key for the result of the attempt that a worker makes at a job."""
    return f"{job.submission}/{job.attempts + 1}/{job.worker}"


class ResultStore:
    """A store at a URL of SQLAlchemy; it connects when it is used, and again when it must.

    Raises:
        ResultStoreError: the URL cannot be understood, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        # SQLAlchemy takes a while to import, and most jobs have small results.
        import sqlalchemy as sa  # noqa: PLC0415

        self._sa = sa
        try:
            parsed = sa.make_url(url)
            self._where = parsed.render_as_string(hide_password=True)
            if parsed.get_backend_name() == "sqlite" and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(parsed, pool_pre_ping=True)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, OSError) as error:
            raise ResultStoreError(
                f"the result store {_without_password(url)!r} cannot be used: {error}. It is a URL"
                " of SQLAlchemy, like sqlite:////var/lib/zoolet/results.db or"
                " postgresql+psycopg://user@host/database (for which: pip install"
                " zoolet[postgresql])"
            ) from None
        self._table = sa.Table(
            "zoolet_results",
            sa.MetaData(),
            sa.Column("key", sa.String(400), primary_key=True),
            sa.Column("value", sa.LargeBinary, nullable=False),
        )
        self._is_made = False

    def put(self, key: str, value: bytes) -> None:
        """Store a result; one that is there under this key is replaced by it.

        Raises:
            ResultStoreError: the store did not take it.
        """
        with self._errors("store a result"), self._connection() as connection:
            connection.execute(self._table.delete().where(self._table.c.key == key))
            connection.execute(self._table.insert().values(key=key, value=value))

    def get(self, key: str) -> bytes:
        """Return a result.

        Raises:
            ResultStoreError: it is not there, or the store cannot be asked.
        """
        with self._errors("read a result"), self._connection() as connection:
            query = self._sa.select(self._table.c.value).where(self._table.c.key == key)
            found = connection.execute(query).scalar_one_or_none()
        if found is None:
            raise ResultStoreError(
                f"{self._where} has no result {key}: was it removed by hand, or is the store of the"
                " worker another one? SQLite is for one machine; zoolet jobs configure"
                " --result-store names one for many"
            )
        return bytes(found)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove results; those that are not there are passed over.

        Raises:
            ResultStoreError: the store did not do it.
        """
        wanted = list(keys)
        with self._errors("remove results"), self._connection() as connection:
            for start in range(0, len(wanted), _DELETE_AT_ONCE):
                some = wanted[start : start + _DELETE_AT_ONCE]
                connection.execute(self._table.delete().where(self._table.c.key.in_(some)))

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    def _connection(self) -> Any:
        if not self._is_made:
            self._table.create(self._engine, checkfirst=True)
            self._is_made = True
        return self._engine.begin()

    def _errors(self, what: str) -> "_Errors":
        return _Errors(self._sa, f"{self._where} did not {what}")


class _Errors:
    """Turns the errors of a database into the one that callers know."""

    def __init__(self, sa: Any, what: str) -> None:
        self._kind = sa.exc.SQLAlchemyError
        self._refusals = (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.NotSupportedError)
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, self._kind):
            # The driver's own words, on one line, without SQLAlchemy's around them.
            said = " ".join(str(getattr(error, "orig", None) or error).split())
            kind = ResultRefusedError if isinstance(error, self._refusals) else ResultStoreError
            raise kind(f"{self._what}: {said}") from error


class ResultReader:
    """Completes jobs whose result is in a queue's store; opens it when there is the first one."""

    def __init__(self, queue: "JobQueue", url: str | None = None) -> None:
        self._queue = queue
        self._url = url
        self._store: ResultStore | None = None

    @property
    def store(self) -> ResultStore:
        """The store.

        Raises:
            ResultStoreError: it cannot be used.
        """
        if self._store is None:
            try:
                url = self._url or self._queue.layout.read_settings().result_store
            except UnreadableJobError as error:
                raise ResultStoreError(str(error)) from None
            self._store = ResultStore(url or default_url())
        return self._store

    def complete(self, job: Job) -> Job:
        """Return the job with its result, fetched from the store where it is there.

        Raises:
            ResultStoreError: the store cannot be asked, or has it no more.
        """
        if job.stored is None:
            return job
        try:
            return replace(job, result=decode_json(self.store.get(job.stored)))
        except ValueError as error:
            raise ResultStoreError(
                f"the stored result of {job.name} is not JSON: {error}"
            ) from None

    def close(self) -> None:
        """Close the store, where it was opened."""
        if self._store is not None:
            self._store.close()


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{separator}...@{host}" if at else url
