"""An export: znodes as lines of JSON, which move between data directories and servers.

The first line names the format, the zxid that it was made at, and the znode that is its root; then
comes a znode a line, parents before children. Data that is UTF-8 stands as text, other data in
base64. A Stat has the owner that ``model/owner_kinds.py`` says, so that containers and TTL znodes
are told apart where whoever made the export could see them.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zoolet.model import paths
from zoolet.model.acl import ACL, AclList, Id
from zoolet.model.stat import Stat

Shown = dict[str, object]
"""A value that JSON has."""

_FORMAT = 1
_FORMAT_KEY = "zoolet_export"


class ExportError(Exception):
    """A line is no line of an export; the message begins with its number, from 1."""


class ExportHeader(NamedTuple):
    """An export's first line."""

    zxid: int
    root: str


class ExportedZnode(NamedTuple):
    """A znode's line.

    Attributes:
        path: its full path.
        data: its data; None is kept apart from empty data.
        acl: its access control list.
        stat: its Stat, with the owner of a container or a TTL znode where that is known.
        created: how many children were created under it; the next sequential child's number.
    """

    path: str
    data: bytes | None
    acl: AclList
    stat: Stat
    created: int


def write_export(header: ExportHeader, znodes: Iterable[ExportedZnode]) -> Iterator[str]:
    """Yield an export's lines, without line feeds."""
    yield json.dumps({_FORMAT_KEY: _FORMAT, "zxid": f"0x{header.zxid:x}", "root": header.root})
    for znode in znodes:
        yield json.dumps(show_znode(znode), ensure_ascii=False)


def read_export(lines: Iterable[str]) -> tuple[ExportHeader, Iterator[ExportedZnode]]:
    """Return an export's first line, and its znodes as they are read; raises ExportError."""
    numbered = enumerate(lines, 1)
    number, line = next(numbered, (1, ""))
    try:
        header = _read_header(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_line(number, error) from error
    return header, _read_znodes(numbered)


def _read_znodes(numbered: Iterator[tuple[int, str]]) -> Iterator[ExportedZnode]:
    for number, line in numbered:
        try:
            yield read_znode(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _no_line(number, error) from error


def _no_line(number: int, error: Exception) -> ExportError:
    return ExportError(f"{number}: this is no line of an export: {error!r}")


def _read_header(first: Shown) -> ExportHeader:
    if first.get(_FORMAT_KEY) != _FORMAT:
        raise ValueError(f"no export of format {_FORMAT}")
    return ExportHeader(int(str(first["zxid"]), 16), str(first.get("root", paths.ROOT)))


def show_znode(znode: ExportedZnode) -> Shown:
    """Return a znode as its line has it."""
    return {
        "path": znode.path,
        **show_data(znode.data),
        "acl": show_acl(znode.acl),
        "stat": znode.stat._asdict(),
        "created": znode.created,
    }


def read_znode(shown: Shown) -> ExportedZnode:
    """Return what show_znode showed; raises ValueError, KeyError or TypeError."""
    path, stat, created = str(shown["path"]), shown["stat"], shown["created"]
    reason = paths.reason_invalid(path)
    if reason is not None:
        raise ValueError(f"{path!r} is no path: {reason}")
    if not isinstance(stat, dict):
        raise TypeError("stat must be an object")
    if not isinstance(created, int):
        raise TypeError("created must be a number")
    numbers = Stat(**{name: int(value) for name, value in stat.items()})
    return ExportedZnode(path, read_data(shown), read_acl(shown["acl"]), numbers, created)


def show_data(data: bytes | None) -> Shown:
    """Return data under ``data`` where it is UTF-8 text or null, else under ``data_base64``."""
    if data is None:
        return {"data": None}
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def read_data(shown: Shown) -> bytes | None:
    """Return what show_data showed; raises ValueError where it is neither."""
    if "data_base64" in shown:
        return base64.b64decode(str(shown["data_base64"]), validate=True)
    data = shown["data"]
    if data is not None and not isinstance(data, str):
        raise ValueError("data must be text or null")
    return None if data is None else data.encode()


def show_acl(acl: AclList) -> list[Shown]:
    """Return a list of entries."""
    return [{"perms": entry.perms, "scheme": entry.id.scheme, "id": entry.id.id} for entry in acl]


def read_acl(shown: object) -> AclList:
    """Return what show_acl showed; raises ValueError, KeyError or TypeError where it is not it."""
    if not isinstance(shown, list):
        raise TypeError("acl must be a list")
    return tuple(
        ACL(int(entry["perms"]), Id(str(entry["scheme"]), str(entry["id"]))) for entry in shown
    )
