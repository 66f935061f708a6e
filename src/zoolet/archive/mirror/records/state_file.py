"""The state of a mirror: a SQLite file with a row for each copy, and the writes without a reply.

Invariants: the file has the intents of a multi before the multi is sent. So after a kill at any
point, each copy is either as a row says, or as an intent says. One process has the file open. The
file may lose no commit: SQLite syncs each one.

Imports ``model``, the errors and other modules of its package.
"""
# ruff: noqa: S608 -- the statements consist of constants of this module

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from zoolet.archive.errors import ArchiveError
from zoolet.archive.mirror.records.rows import Row
from zoolet.model.acl import AclList

_VERSION: Final = 2
_ROOT_KEY: Final = ("/", "")
"""The key of the root of the subtree; no other znode has "/" as its parent here."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copies (
  parent TEXT NOT NULL, name TEXT NOT NULL,
  czxid INTEGER NOT NULL, mzxid INTEGER NOT NULL, aversion INTEGER NOT NULL,
  copy_czxid INTEGER NOT NULL, copy_mzxid INTEGER NOT NULL,
  copy_version INTEGER NOT NULL, copy_aversion INTEGER NOT NULL,
  wanted INTEGER NOT NULL, counter INTEGER NOT NULL,
  ctime INTEGER NOT NULL, mtime INTEGER NOT NULL,
  PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS low_counters ON copies (parent, name) WHERE wanted > counter;
CREATE TABLE IF NOT EXISTS intents (path TEXT PRIMARY KEY, row TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS acl_intents (
  path TEXT PRIMARY KEY, aversion INTEGER NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID;
"""
_ROW: Final = (
    "czxid, mzxid, aversion, copy_czxid, copy_mzxid, copy_version, copy_aversion, wanted, counter,"
    " ctime, mtime"
)
_WITH_KEY: Final = f"parent, name, {_ROW}"
_OF_KEY: Final = "WHERE parent = ? AND name = ?"


class StateFile:
    """The rows and the intents of one mirror.

    Attributes:
        id: identifies this file; the marker in the target has the same id.
        number: the number of the last multi whose result is known.
    """

    def __init__(self, path: Path, source: str, target: str) -> None:
        """Open or create the file of a mirror from ``source`` to ``target``.

        Raises:
            ArchiveError: another process has it open, or it belongs to another mirror.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise explained(path, error) from error
        try:
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("COMMIT")
            self._base.executescript(_SCHEMA)
            self._check(source, target)
        except sqlite3.Error as error:
            self._base.close()
            raise explained(path, error) from error
        except ArchiveError:
            self._base.close()
            raise
        self.id = self._fact("id")
        self.number = int(self._fact("number"))
        self._is_changed = False

    def _check(self, source: str, target: str) -> None:
        wanted = {"version": str(_VERSION), "source": source, "target": target}
        known = dict(self._base.execute("SELECT name, value FROM facts"))
        if not known:
            wanted |= {"id": str(uuid.uuid4()), "number": "0", "is_complete": "0"}
            self._base.executemany("INSERT INTO facts VALUES (?, ?)", wanted.items())
            return
        if known.get("version") != wanted["version"]:
            raise ArchiveError(
                f"the state file {self._path} was written by another release of zoolet: delete it."
                " Then the mirror compares all data"
            )
        for name, value in wanted.items():
            if known.get(name) != value:
                raise ArchiveError(
                    f"the state file {self._path} belongs to the mirror from"
                    f" {known.get('source')} to {known.get('target')}: name another file with"
                    " --state"
                )

    @property
    def source_zxid(self) -> int:
        """The newest zxid of the source that the mirror has seen; 0 if it has seen none."""
        found = self._base.execute("SELECT value FROM facts WHERE name = 'source_zxid'").fetchone()
        return 0 if found is None else int(found[0])

    def put_source_zxid(self, zxid: int) -> None:
        """Note the newest zxid of the source that the mirror has seen."""
        self._change("INSERT OR REPLACE INTO facts VALUES ('source_zxid', ?)", (str(zxid),))

    def _fact(self, name: str) -> str:
        found = self._base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(found[0])

    def _put_fact(self, name: str, value: str) -> None:
        self._change("UPDATE facts SET value = ? WHERE name = ?", (value, name))

    def row(self, relative: str) -> Row | None:
        """Return the row of a znode; None if the target does not have it."""
        found = self._base.execute(f"SELECT {_ROW} FROM copies {_OF_KEY}", _key(relative))
        values = found.fetchone()
        return None if values is None else Row(*values)

    def put(self, relative: str, row: Row) -> None:
        """Insert or replace the row of a znode."""
        self._change(
            "INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*_key(relative), *row),
        )

    def remove(self, relative: str) -> None:
        """Remove the row of a znode."""
        self._change(f"DELETE FROM copies {_OF_KEY}", _key(relative))

    def children(self, relative: str) -> Iterator[str]:
        """Yield the names of the children of a znode."""
        found = self._base.execute("SELECT name FROM copies WHERE parent = ?", (relative,))
        return (str(name) for (name,) in found.fetchall())

    def subtree(self, relative: str, most: int) -> list[tuple[str, Row]]:
        """Return up to ``most`` znodes of a subtree, each after its descendants."""
        # "0" is the character after "/". The parent of a child is longer than the parent of its
        # parent, so it comes later in the order of parents. One query for both cases would read
        # the whole table.
        listed: list[tuple[str, Row]] = []
        for where, values in (
            ("parent >= ? AND parent < ?", (f"{relative}/", f"{relative}0")),
            ("parent = ?", (relative,)),
        ):
            found = self._base.execute(
                f"SELECT {_WITH_KEY} FROM copies WHERE {where} AND name != ''"
                " ORDER BY parent DESC, name DESC LIMIT ?",
                (*values, most - len(listed)),
            )
            listed += [(_relative(parent, name), Row(*row)) for parent, name, *row in found]
        own = self.row(relative)
        if own is not None and len(listed) < most:
            listed.append((relative, own))
        return listed

    def oldest(self, most: int) -> list[tuple[str, Row]]:
        """Return the ``most`` copies below the root whose source's znodes are the oldest.

        This reads the whole table.
        """
        found = self._base.execute(
            f"SELECT {_WITH_KEY} FROM copies WHERE czxid > 0 AND name != ''"
            " ORDER BY czxid, parent, name LIMIT ?",
            (most,),
        )
        return [(_relative(parent, name), Row(*row)) for parent, name, *row in found]

    def __len__(self) -> int:
        (count,) = self._base.execute("SELECT count(*) FROM copies").fetchone()
        return int(count)

    def low_counters(self, most: int) -> list[tuple[str, int]]:
        """Return up to ``most`` znodes whose counter is lower than the source's, and the latter."""
        found = self._base.execute(
            "SELECT parent, name, wanted FROM copies WHERE wanted > counter LIMIT ?", (most,)
        )
        return [(_relative(parent, name), wanted) for parent, name, wanted in found.fetchall()]

    def want_counter(self, relative: str, wanted: int) -> None:
        """Note the source's counter, if it is higher than the known one."""
        self._change(
            f"UPDATE copies SET wanted = ? {_OF_KEY} AND wanted < ?",
            (wanted, *_key(relative), wanted),
        )

    def put_counter(self, relative: str, counter: int) -> None:
        """Note the target's counter."""
        self._change(f"UPDATE copies SET counter = ? {_OF_KEY}", (counter, *_key(relative)))

    # --- Intents

    def begin(self, writes: Iterable[tuple[str, Row | None]]) -> None:
        """Store the rows after the next multi, with everything before; None is a deletion."""
        for relative, row in writes:
            text = None if row is None else json.dumps(row)
            self._change("INSERT OR REPLACE INTO intents VALUES (?, ?)", (relative, text))
        self.commit()

    def has_intents(self) -> bool:
        """Whether a multi may have been sent whose result is not known."""
        return self._base.execute("SELECT 1 FROM intents LIMIT 1").fetchone() is not None

    def apply(self, zxid: int) -> None:
        """Change the rows as the intents say; the multi has this zxid."""
        for relative, text in self._base.execute("SELECT path, row FROM intents").fetchall():
            if text is None:
                self.remove(relative)
                continue
            row = Row(*json.loads(text)).applied(zxid)
            if row.copy_czxid == zxid and relative:
                self._count_child(relative.rpartition("/")[0])
            self.put(relative, row)
        self.number += 1
        self._put_fact("number", str(self.number))
        self.forget_intents()

    def forget_intents(self) -> None:
        """Forget the intents: the multi was not applied."""
        self._change("DELETE FROM intents", ())

    def _count_child(self, parent: str) -> None:
        self._change(f"UPDATE copies SET counter = counter + 1 {_OF_KEY}", _key(parent))

    def begin_acls(self, changes: Iterable[tuple[str, AclList, int]]) -> None:
        """Store the ACLs that are sent next, with the source's versions."""
        for relative, acl, aversion in changes:
            self._change(
                "INSERT OR REPLACE INTO acl_intents VALUES (?, ?, ?)",
                (relative, aversion, digest_of(acl)),
            )
        self.commit()

    def acl_intents(self) -> list[tuple[str, int, str]]:
        """Return the path, the source's version and the digest of ACLs without a result."""
        return self._base.execute("SELECT path, aversion, digest FROM acl_intents").fetchall()

    def end_acl(self, relative: str, changed: tuple[int, int] | None) -> None:
        """Note the result of a change of an ACL: both versions, or None if it was not applied."""
        if changed is not None:
            self._change(
                f"UPDATE copies SET aversion = ?, copy_aversion = ? {_OF_KEY}",
                (*changed, *_key(relative)),
            )
        self._change("DELETE FROM acl_intents WHERE path = ?", (relative,))

    # --- The file

    def forget_all(self, number: int) -> None:
        """Forget all rows and intents: the target is not the one that they describe."""
        for table in ("copies", "intents", "acl_intents"):
            self._change(f"DELETE FROM {table}", ())
        self.number = number
        self._put_fact("number", str(number))
        self._put_fact("is_complete", "0")
        self.commit()

    @property
    def is_complete(self) -> bool:
        """Whether there is a row for each znode of the target."""
        return self._fact("is_complete") == "1"

    def note_complete(self) -> None:
        """Note that there is a row for each znode of the target."""
        self._put_fact("is_complete", "1")

    def commit(self) -> None:
        """Write all changes to disk."""
        if self._is_changed:
            self._base.execute("COMMIT")
            self._is_changed = False

    def close(self) -> None:
        """Close the file; changes without a commit are lost, as after a kill."""
        self._base.close()

    def _change(self, statement: str, values: tuple[object, ...]) -> None:
        if not self._is_changed:
            self._base.execute("BEGIN")
            self._is_changed = True
        self._base.execute(statement, values)


def digest_of(acl: AclList) -> str:
    """Return a digest of an ACL, without regard to the order of its entries."""
    return hashlib.sha256(json.dumps(sorted(acl)).encode()).hexdigest()


def _key(relative: str) -> tuple[str, str]:
    if not relative:
        return _ROOT_KEY
    parent, _, name = relative.rpartition("/")
    return parent, name


def _relative(parent: str, name: str) -> str:
    return "" if (parent, name) == _ROOT_KEY else f"{parent}/{name}"


def explained(path: Path, error: sqlite3.Error) -> ArchiveError:
    """Return the error for a state file that cannot be read or written."""
    if "locked" in str(error):
        return ArchiveError(
            f"the state file {path} is used by a mirror that runs: stop it, or wait for its end"
        )
    return ArchiveError(
        f"the state file {path} cannot be used ({error}). Check its disk, and the permissions of"
        " its directory. If the file is damaged, delete it, or name another one with --state: then"
        " the mirror compares all data"
    )
