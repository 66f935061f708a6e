"""A result store: a table in any database that SQLAlchemy supports, and the database's identity.

A random id in the database identifies it. The URL is not enough, because two host names can lead to
one server, and one path can lead to different files on two machines. Invariant: each call ends
within `TIMEOUT_S`, even if the database does not reply. This module imports `zoolet.console` and
`zoolet.jobs.errors`.
"""

import contextlib
import os
import queue
import sqlite3
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from zoolet.console.extras import explain_import
from zoolet.jobs.errors import ResultRefusedError, ResultStoreError

T = TypeVar("T")

TIMEOUT_S = 30.0
"""The time limit of a call, in seconds. Most drivers wait for ever if the database hangs."""

PUT_TRIES = 10
"""The most tries to store a result while other calls store a result with the same key."""

_DELETE_AT_ONCE = 500
_SQLITE_WAIT_S = 5.0
_IDENTITY = "zoolet_store"
_OTHER_STORE = "Set HOME, or give the result store a URL: --result-store-url default=URL"


def default_url() -> str:
    """Return the URL of the default store: a SQLite file in the user's home directory.

    Raises:
        ResultRefusedError: the user has no home directory.
    """
    try:
        home = Path.home()
    except RuntimeError:
        raise ResultRefusedError(
            "large results cannot be stored: HOME is not set, and the user has no home directory."
            f" {_OTHER_STORE}"
        ) from None
    return f"sqlite:///{home / '.zoolet' / 'results.db'}"


def _import_sqlalchemy() -> Any:
    """Return SQLAlchemy; it is not imported earlier because that takes 0.15 s."""
    try:
        import sqlalchemy  # noqa: PLC0415
    except ImportError as error:
        if (reason := explain_import(error)) is None:
            raise
        raise ResultRefusedError(f"large results cannot be stored: {reason}") from None
    return sqlalchemy


class _Call:
    """A call that a thread makes; the caller may have stopped waiting for it."""

    def __init__(self) -> None:
        self.is_late = False
        self.has_ended = False


class ResultStore:
    """A store at an SQLAlchemy URL. It connects at the first call, and reconnects if necessary.

    Attributes:
        place: where the store is, for messages: without driver, user, password and options.
        path: the path of the SQLite file; None for another database.

    Raises:
        ResultRefusedError: the URL is invalid, SQLAlchemy or the driver is not installed, or the
            directory of the file cannot be created.
    """

    def __init__(self, url: str) -> None:
        sa = _import_sqlalchemy()
        self._sa = sa
        self.path = sqlite_path(url)
        try:
            parsed = sa.make_url(url)
            if self.path is not None:
                make_directory(self.path)
                parsed = parsed.set(database=str(self.path))
            self.place = place_of(url)
            self._new_engine = partial(sa.create_engine, parsed, pool_pre_ping=True)
            self._open_engine()
        except (sa.exc.ArgumentError, ValueError):
            # These errors may quote the URL with its password.
            raise ResultRefusedError(_unusable(url, "it is not a URL")) from None
        except (sa.exc.NoSuchModuleError, ImportError) as error:
            raise ResultRefusedError(_unusable(url, str(error))) from None
        tables = sa.MetaData()
        self._table = sa.Table(
            "zoolet_results",
            tables,
            sa.Column("key", sa.String(400), primary_key=True),
            sa.Column("value", sa.LargeBinary, nullable=False),
        )
        self._identity = sa.Table(
            _IDENTITY,
            tables,
            sa.Column("name", sa.String(40), primary_key=True),
            sa.Column("value", sa.String(40), nullable=False),
        )
        self._tables = tables
        self._is_made = False
        self._made: list[Any] = []
        """The tables of callers of `run` that exist."""
        self._id: str | None = None
        self._num_late = 0
        self._lock = threading.Lock()

    def _open_engine(self) -> None:
        """Get connections to the database, which are closed even if nobody calls `close`."""
        self._engine = self._new_engine()
        self._closing = weakref.finalize(self, self._engine.dispose)

    @property
    def sqlalchemy(self) -> Any:
        """The module ``sqlalchemy``, which is imported only if a store is opened."""
        return self._sa

    @property
    def num_late(self) -> int:
        """The number of calls that still wait for the database, after their time limit."""
        return self._num_late

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the kind of database, for example ``sqlite``."""
        return str(self._engine.dialect.name)

    @property
    def is_local(self) -> bool:
        """Whether the store is a file; other machines see it only if it is on a shared disk."""
        return self.path is not None

    @property
    def id(self) -> str:
        """The random id in the database; it is created if it does not exist.

        Raises:
            ResultStoreError: the database cannot be read.
        """
        if self._id is None:
            if self.path is not None:
                self._id = sqlite_id(self.path)
            else:
                self._id = self._ask("return its id", lambda: self._find_id() or self._make_id())
        return self._id

    def _find_id(self) -> str | None:
        query = self._sa.select(self._identity.c.value).where(self._identity.c.name == "id")
        with self._connection() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else str(found)

    def _make_id(self) -> str:
        made = uuid.uuid4().hex
        try:
            with self._connection() as connection:
                connection.execute(self._identity.insert().values(name="id", value=made))
        except self._sa.exc.IntegrityError:
            # Another program created an id at the same time.
            return self._find_id() or made
        return made

    def put(self, key: str, value: bytes) -> None:
        """Store a result; replace an existing result with the same key.

        Raises:
            ResultStoreError: the store did not store the result; a later try may succeed.
            ResultRefusedError: the store cannot store the result; a later try fails too.
        """

        def replace() -> None:
            with self._connection() as connection:
                connection.execute(self._table.delete().where(self._table.c.key == key))
                connection.execute(self._table.insert().values(key=key, value=value))

        def replace_until_stored() -> None:
            for tries_left in reversed(range(PUT_TRIES)):
                try:
                    replace()
                except self._sa.exc.IntegrityError:
                    # Another call has stored this key after the delete: for example an earlier
                    # call of this worker, which ended only after its time limit.
                    if not tries_left:
                        raise
                else:
                    break

        self._ask("store a result", replace_until_stored)

    def get(self, key: str) -> bytes | None:
        """Return the result with this key; None if it does not exist.

        Raises:
            ResultStoreError: the store cannot be read.
        """
        query = self._sa.select(self._table.c.value).where(self._table.c.key == key)

        def read() -> Any:
            with self._connection() as connection:
                return connection.execute(query).scalar_one_or_none()

        found = self._ask("read a result", read)
        return None if found is None else bytes(found)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the results with these keys; ignore keys without a result.

        Raises:
            ResultStoreError: the store did not remove the results.
        """
        wanted = list(keys)

        def remove(some: list[str]) -> None:
            with self._connection() as connection:
                connection.execute(self._table.delete().where(self._table.c.key.in_(some)))

        for start in range(0, len(wanted), _DELETE_AT_ONCE):
            some = wanted[start : start + _DELETE_AT_ONCE]
            self._ask("remove results", partial(remove, some))

    def run(
        self,
        what: str,
        work: Callable[[Any], T],
        tables: Any,
        *,
        tries: int = 1,
        timeout_s: float | None = None,
    ) -> T:
        """Call ``work`` with a connection, in one transaction, and return its result.

        Args:
            what: describes the work in error messages.
            work: gets a connection of SQLAlchemy.
            tables: the ``MetaData`` of the tables that the work needs; they are created first.
            tries: the number of tries if a unique constraint refuses the work, because another
                program writes the same rows at the same time.
            timeout_s: the time limit, in seconds; None: `TIMEOUT_S`. After it, the work may still
                be done.

        Raises:
            ResultStoreError: the work failed; a later try may succeed.
            ResultRefusedError: the work failed, and a later try fails too.
        """

        def attempt() -> T:
            tries_left = tries
            while True:
                try:
                    if tables not in self._made:
                        self._create(tables)
                        self._made.append(tables)
                    with self._engine.begin() as connection:
                        return work(connection)
                except self._sa.exc.IntegrityError:
                    tries_left -= 1
                    if not tries_left:
                        raise

        found: T = self._ask(what, attempt, timeout_s)
        return found

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()

    def _connection(self) -> Any:
        if not self._is_made:
            self._create(self._tables)
            self._is_made = True
        return self._engine.begin()

    def _create(self, tables: Any) -> None:
        """Create tables that do not exist; another program may create them at the same time."""
        errors = self._sa.exc
        # A try fails if another program has just created a table, which happens once for a table.
        for _ in tables.tables:
            try:
                tables.create_all(self._engine)
            except (errors.OperationalError, errors.ProgrammingError, errors.IntegrityError):
                continue
            return
        tables.create_all(self._engine)

    def _ask(self, what: str, work: Callable[[], Any], timeout_s: float | None = None) -> Any:
        """Run ``work`` in a thread and return its result; stop waiting after ``timeout_s``.

        ``what`` describes the work in error messages. None as ``timeout_s``: `TIMEOUT_S`.

        Raises:
            ResultStoreError: the work failed, or took too long; a later try may succeed.
            ResultRefusedError: the work failed, and a later try fails too.
        """
        answers = queue.SimpleQueue[tuple[Any, BaseException | None]]()
        engine = self._engine
        limit_s = TIMEOUT_S if timeout_s is None else timeout_s
        call = _Call()

        def run() -> None:
            try:
                answers.put((work(), None))
            except BaseException as error:  # noqa: BLE001 -- it is raised by the caller's thread
                answers.put((None, error))
            with self._lock:
                call.has_ended = True
                self._num_late -= call.is_late
            if call.is_late:
                engine.dispose()

        threading.Thread(target=run, name="zoolet-result-store", daemon=True).start()
        try:
            found, error = answers.get(timeout=limit_s)
        except queue.Empty:
            # The thread may use its connection for ever. The next call gets another connection.
            self._closing.detach()
            self._open_engine()
            with self._lock:
                call.is_late = not call.has_ended
                self._num_late += call.is_late
            if call.has_ended:
                engine.dispose()
            raise ResultStoreError(
                f"{self.place} did not {what} within {limit_s:g} s. Check whether the database"
                " answers other clients"
            ) from None
        if isinstance(error, self._sa.exc.SQLAlchemyError):
            raise self._known(error, what) from error
        if error is not None:
            raise error
        return found

    def _known(self, error: Exception, what: str) -> ResultStoreError:
        """Return the job system's error for an error of the database."""
        # The driver's message, in one line, without SQLAlchemy's additions.
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        errors = self._sa.exc
        refusals = (errors.DataError, errors.IntegrityError, errors.NotSupportedError)
        is_refused = isinstance(error, refusals) or not _is_writable(self.path)
        kind = ResultRefusedError if is_refused else ResultStoreError
        return kind(f"{self.place} did not {what}: {said}")


def sqlite_path(url: str) -> Path | None:
    """Return the absolute path of a store that is a SQLite file; None for any other store.

    Raises:
        ResultRefusedError: the store is a database in memory, which other processes cannot read.
    """
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    path = rest.removeprefix("/").partition("?")[0]
    if path in {"", ":memory:"} or path.startswith("file:"):
        raise ResultRefusedError(
            f"the result store {place_of(url)!r} is not a file: write sqlite:/// and a path, for"
            " example sqlite:////var/lib/zoolet/results.db"
        )
    return Path(path).absolute()


def sqlite_id(path: Path, wait_s: float | None = None) -> str:
    """Return the random id in a SQLite file; create the file and the id if they do not exist.

    ``wait_s`` is the time, in seconds, for which the file may be locked; None: `_SQLITE_WAIT_S`.

    Raises:
        ResultStoreError: the file cannot be used.
    """
    make_directory(path)
    try:
        with (
            contextlib.closing(
                sqlite3.connect(path, timeout=_SQLITE_WAIT_S if wait_s is None else wait_s)
            ) as connection,
            connection,
        ):
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {_IDENTITY}"
                " (name VARCHAR(40) NOT NULL PRIMARY KEY, value VARCHAR(40) NOT NULL)"
            )
            connection.execute(
                f"INSERT OR IGNORE INTO {_IDENTITY} VALUES ('id', ?)",  # noqa: S608 -- a constant
                (uuid.uuid4().hex,),
            )
            query = f"SELECT value FROM {_IDENTITY} WHERE name = 'id'"  # noqa: S608
            return str(connection.execute(query).fetchone()[0])
    except sqlite3.Error as error:
        kind = ResultStoreError if _is_writable(path) else ResultRefusedError
        raise kind(f"the result store {path} cannot be used: {error}") from None


def existing_id(path: Path, wait_s: float | None = None) -> str | None:
    """Return the random id in a SQLite file; None if the file does not exist yet.

    ``wait_s`` is the time limit of `sqlite_id`.

    Raises:
        ResultStoreError: the file cannot be used, or cannot be created.
    """
    if path.exists():
        return sqlite_id(path, wait_s)
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ResultRefusedError(
            f"the result store {path} cannot be created: {folder} is not a directory to which this"
            f" user can write. {_OTHER_STORE}"
        )
    return None


def make_directory(path: Path) -> None:
    """Create the directory of a SQLite file if it does not exist.

    Raises:
        ResultRefusedError: the directory cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultRefusedError(
            f"the result store {path} cannot be used: {error}. {_OTHER_STORE}"
        ) from None


def _is_writable(path: Path | None) -> bool:
    return path is None or (
        os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
    )


def place_of(url: str) -> str:
    """Return where a store is, without driver, user, password and options, for a message."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "(not a URL)"
    kind = scheme.partition("+")[0]
    if kind == "sqlite":
        path = rest.removeprefix("/").partition("?")[0]
        return f"sqlite:///{Path(path).absolute() if path else ''}"
    netloc, slash, tail = rest.partition("/")
    if "@" in tail or "?" in netloc:
        # A password with such a character is not encoded, so what follows may be a part of it.
        return f"{kind}://..."
    return f"{kind}://{netloc.rpartition('@')[2]}{slash}{tail.partition('?')[0]}"


def _unusable(url: str, reason: str) -> str:
    return (
        f"the result store {place_of(url)!r} cannot be used: {reason}. Use an SQLAlchemy URL, like"
        " sqlite:////var/lib/zoolet/results.db or postgresql+psycopg://user@host/database (which"
        " needs: pip install 'zoolet[postgresql]')"
    )
