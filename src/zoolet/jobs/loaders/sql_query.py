"""A table or view of a SQL database: each range of a key is a group, loaded as a list of dicts.

The location is a URL for SQLAlchemy. The description stores the URL, so it should have no password:
use the password file or the service file of the database. The ranges have no gap between the least
and the greatest key: each row is in one group, also if it is added later between these keys. This
module imports SQLAlchemy, `zoolet.jobs.errors` and other modules of its package.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from zoolet.jobs.errors import DatasetError
from zoolet.jobs.loaders.groups import DatasetGroup, checked_columns, group_id

_TYPES = (int, str)


def list_groups(
    location: str, options: Mapping[str, Any], known: Sequence[DatasetGroup]
) -> list[DatasetGroup]:
    """Return the ranges of the key, with about ``rows_per_group`` rows in each.

    Rows with equal keys are in the same group.
    """
    del known
    with _connected(location) as connection:
        table = _table(connection, options)
        key = table.c[options["key"]]
        if connection.scalar(sa.select(sa.func.count()).select_from(table).where(key.is_(None))):
            raise DatasetError(
                f"the key {options['key']} of {options['table']} is NULL in some rows, which would"
                " be in no group: choose another key"
            )
        bounds = list(_bounds(connection, key, options["rows_per_group"]))
        return [
            _group(connection, table, location, options, low, bounds[number + 1])
            for number, low in enumerate(bounds[:-1])
        ]


def _bounds(
    connection: sa.Connection, key: sa.ColumnElement[Any], rows_per_group: int
) -> Iterator[Any]:
    """Yield the least key of each group, and None at the end; nothing if there is no row."""
    low = connection.scalar(sa.select(sa.func.min(key)))
    if low is None:
        return
    while low is not None:
        if type(low) not in _TYPES:
            raise DatasetError(f"the key {key} has the value {low!r}, which is no integer or text")
        yield low
        following = sa.select(key).order_by(key)
        later = connection.scalar(following.where(key >= low).offset(rows_per_group).limit(1))
        if later == low:
            later = connection.scalar(following.where(key > low).limit(1))
        low = later
    yield None


def _group(
    connection: sa.Connection,
    table: sa.Table,
    location: str,
    options: Mapping[str, Any],
    low: Any,
    high: Any,
) -> DatasetGroup:
    key = table.c[options["key"]]
    values = [sa.func.count(), sa.func.max(key)]
    if options["version_column"]:
        name = checked_columns([options["version_column"]], table.c.keys(), options["table"])[0]
        values.append(sa.func.max(table.c[name]))
    found = list(connection.execute(sa.select(*values).where(_is_in(key, low, high))).one())
    version = hashlib.sha256(repr((low, high, found)).encode()).hexdigest()[:16]
    # The last group ends with the greatest key: rows with greater keys are new groups after the
    # next refresh, and do not change this group.
    last = found[1] if high is None else None
    return DatasetGroup(
        group_id(f"{options['key']}>={low}"),
        version,
        int(found[0]),
        None,
        {"url": location, "low": low, "high": high, "last": last},
    )


def load(
    position: Mapping[str, Any], columns: Sequence[str] | None, options: Mapping[str, Any]
) -> Any:
    """Return the rows of a range as dicts, in the order of the key."""
    with _connected(position["url"]) as connection:
        table = _table(connection, options)
        key = table.c[options["key"]]
        names = checked_columns(columns, table.c.keys(), options["table"])
        wanted = sa.select(*(table.c[name] for name in names)).order_by(key)
        wanted = wanted.where(_is_in(key, position["low"], position["high"]))
        if position["last"] is not None:
            wanted = wanted.where(key <= position["last"])
        return [dict(row) for row in connection.execute(wanted).mappings()]


def _is_in(key: sa.ColumnElement[Any], low: Any, high: Any) -> sa.ColumnElement[bool]:
    return key >= low if high is None else sa.and_(key >= low, key < high)


def _table(connection: sa.Connection, options: Mapping[str, Any]) -> sa.Table:
    schema, _, name = options["table"].rpartition(".")
    table = sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=connection)
    checked_columns([options["key"]], table.c.keys(), options["table"])
    return table


@contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise DatasetError(
            f"the database cannot be used: {type(error).__name__}: {error}".partition("\n")[0]
        ) from error
