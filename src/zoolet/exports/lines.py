"""An export: znodes as lines of JSON, for transfers between data directories and servers.

The first line has the format, the zxid of the exported state, and the path of the root znode. Each
other line has one znode, parents before children. Data in UTF-8 are written as text, other data in
base64. The field ``ephemeralOwner`` of a Stat also shows whether the znode is a container or a TTL
znode (``model/owner_kinds.py``), if the program that made the export could recognize these.
"""

import base64
import json
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zoolet.model import paths
from zoolet.model.acl import ACL, AclList, Id
from zoolet.model.stat import Stat

Shown = dict[str, object]
"""A JSON object."""

_FORMAT = 1
_FORMAT_KEY = "zoolet_export"


_INVALID = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    struct.error,
)
"""What the functions that read a line raise if it is not a line of an export."""


class ExportError(Exception):
    """A line of an export is invalid; the message begins with its number, from 1."""


class ExportHeader(NamedTuple):
    """The first line of an export."""

    zxid: int
    root: str


class ExportedZnode(NamedTuple):
    """The line of a znode.

    Attributes:
        path: the full path.
        data: the data; None means null, which differs from empty data.
        acl: the access control list.
        stat: the Stat, with the owner of a container or a TTL znode if it is known.
        created: the number of children that were created, which is the number of the next
            sequential child.
    """

    path: str
    data: bytes | None
    acl: AclList
    stat: Stat
    created: int


def write_export(header: ExportHeader, znodes: Iterable[ExportedZnode]) -> Iterator[str]:
    """Yield the lines of an export, without line feeds."""
    yield header_line(header)
    for znode in znodes:
        yield znode_line(znode)


def header_line(header: ExportHeader) -> str:
    """Return the first line of an export, without line feed."""
    return json.dumps({_FORMAT_KEY: _FORMAT, "zxid": f"0x{header.zxid:x}", "root": header.root})


def znode_line(znode: ExportedZnode) -> str:
    """Return the line of a znode, without line feed."""
    return json.dumps(show_znode(znode), ensure_ascii=False)


def read_export(lines: Iterable[str]) -> tuple[ExportHeader, Iterator[ExportedZnode]]:
    """Return the header of an export, and an iterator over its znodes; raises ExportError."""
    numbered = enumerate(lines, 1)
    number, line = next(numbered, (1, ""))
    try:
        header = _read_header(json.loads(line))
    except _INVALID as error:
        raise _no_line(number, error) from error
    return header, _read_znodes(numbered, header.root)


def _read_znodes(numbered: Iterator[tuple[int, str]], root: str) -> Iterator[ExportedZnode]:
    below = root if root.endswith("/") else f"{root}/"
    for number, line in numbered:
        try:
            znode = read_znode(json.loads(line))
            if znode.path != root and not znode.path.startswith(below):
                raise ValueError(f"{znode.path!r} is not below {root!r}, the root of the export")
            yield znode
        except _INVALID as error:
            raise _no_line(number, error) from error


def _no_line(number: int, error: Exception) -> ExportError:
    return ExportError(f"{number}: this is not a line of an export: {error!r}")


def _read_header(first: Shown) -> ExportHeader:
    if first.get(_FORMAT_KEY) != _FORMAT:
        raise ValueError(f"not an export of format {_FORMAT}")
    root = str(first.get("root", paths.ROOT))
    reason = paths.reason_invalid(root)
    if reason is not None:
        raise ValueError(f"{root!r} is not a valid path: {reason}")
    root.encode()
    return ExportHeader(_signed(int(str(first["zxid"]), 16), 64), root)


def show_znode(znode: ExportedZnode) -> Shown:
    """Return the JSON object of a znode."""
    return {
        "path": znode.path,
        **show_data(znode.data),
        "acl": show_acl(znode.acl),
        "stat": znode.stat._asdict(),
        "created": znode.created,
    }


def read_znode(shown: Shown) -> ExportedZnode:
    """Return the znode of an object from show_znode; raises an exception of ``_INVALID``.

    Texts are encoded and numbers packed as a check: JSON has texts and numbers that no znode has.
    """
    path, stat, created = str(shown["path"]), shown["stat"], shown["created"]
    reason = paths.reason_invalid(path)
    if reason is not None:
        raise ValueError(f"{path!r} is not a valid path: {reason}")
    if not isinstance(stat, dict):
        raise TypeError("stat must be an object")
    if not isinstance(created, int):
        raise TypeError("created must be a number")
    path.encode()
    numbers = Stat(**{name: int(value) for name, value in stat.items()})
    numbers.pack()
    acl = read_acl(shown["acl"])
    return ExportedZnode(path, read_data(shown), acl, numbers, _signed(created, 32))


def show_data(data: bytes | None) -> Shown:
    """Return the data under ``data`` if they are UTF-8 or null, else under ``data_base64``."""
    if data is None:
        return {"data": None}
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def read_data(shown: Shown) -> bytes | None:
    """Return the data of an object from show_data; raises ValueError or KeyError."""
    if "data_base64" in shown:
        return base64.b64decode(str(shown["data_base64"]), validate=True)
    data = shown["data"]
    if data is not None and not isinstance(data, str):
        raise ValueError("data must be text or null")
    return None if data is None else data.encode()


def show_acl(acl: AclList) -> list[Shown]:
    """Return the JSON list of an ACL."""
    return [{"perms": entry.perms, "scheme": entry.id.scheme, "id": entry.id.id} for entry in acl]


def read_acl(shown: object) -> AclList:
    """Return the ACL of a list from show_acl; raises ValueError, KeyError or TypeError."""
    if not isinstance(shown, list):
        raise TypeError("acl must be a list")
    acl = tuple(
        ACL(_signed(int(entry["perms"]), 32), Id(str(entry["scheme"]), str(entry["id"])))
        for entry in shown
    )
    for entry in acl:
        f"{entry.id.scheme}{entry.id.id}".encode()
    return acl


def _signed(number: int, bits: int) -> int:
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError(f"{number} has more than {bits} bits")
    return number
