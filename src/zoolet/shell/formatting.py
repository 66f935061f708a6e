"""Formats names, data, Stats, ACLs and events: as text like Apache's shell, and as JSON values.

These functions do not escape control characters. ``output.py`` does this when it prints.
"""

import json
import re
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from zoolet.model.acl import AclList
from zoolet.model.acl_texts import AclError, format_permissions, parse_acl
from zoolet.model.codes import EventType
from zoolet.model.numbers import hex64
from zoolet.model.results import Event
from zoolet.model.stat import Stat
from zoolet.shell.answers import Answer
from zoolet.shell.errors import UsageError
from zoolet.shell.watches import WatchKind

_JSON_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][\s{},:"]+')

_EVENT_NAMES = {
    EventType.NODE_CREATED: "NodeCreated",
    EventType.NODE_DELETED: "NodeDeleted",
    EventType.NODE_DATA_CHANGED: "NodeDataChanged",
    EventType.NODE_CHILDREN_CHANGED: "NodeChildrenChanged",
}

_REMOVED_NAMES = {
    WatchKind.DATA: "DataWatchRemoved",
    WatchKind.CHILD: "ChildWatchRemoved",
    WatchKind.PERSISTENT: "PersistentWatchRemoved",
    WatchKind.RECURSIVE: "PersistentWatchRemoved",
}


def format_data(data: bytes | None) -> str:
    r"""Return data as text; bytes that are not valid UTF-8 become ``\xNN``."""
    return "null" if data is None else data.decode("utf-8", "backslashreplace")


def is_json(text: str) -> bool:
    """Return whether a text is a JSON object or list; other JSON values count as plain text."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def indent_json(text: str) -> str:
    """Return valid JSON with indentation; numbers and escapes keep their exact text."""
    parts: list[str] = []
    depth = 0
    for piece, following in pairwise([*_JSON_PIECE.findall(text), ""]):
        is_opening, closes = piece in {"{", "["}, following in {"}", "]"}
        depth += is_opening and not closes
        parts.append(piece)
        if (is_opening and not closes) or piece == ",":
            parts.append(f"\n{'  ' * depth}")
        elif piece == ":":
            parts.append(" ")
        elif closes and not is_opening:
            depth -= 1
            parts.append(f"\n{'  ' * depth}")
    return "".join(parts)


def format_hexdump(data: bytes) -> str:
    """Return a hexdump with sixteen bytes per line and a frame, like Apache ZooKeeper's."""
    if not data:
        return ""
    digits = "".join(f"{digit:3x}" for digit in range(16))
    rule = f"+{'-' * 8}+{'-' * 49}+{'-' * 16}+"
    lines = [f"{' ' * 9}+{'-' * 49}+", f"{' ' * 9}|{digits} |", rule]
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        hexadecimal = "".join(f" {byte:02x}" for byte in row)
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"|{offset:08x}|{hexadecimal:48} |{text:16}|")
    return "\n".join([*lines, rule])


def format_names(names: Iterable[str]) -> str:
    """Return names as ``[a, b]``, in the given order."""
    return f"[{', '.join(names)}]"


def format_stat(stat: Stat) -> str:
    """Return a Stat with one field per line, under the names of Apache ZooKeeper's shell."""
    return "\n".join(
        (
            f"cZxid = 0x{stat.czxid:x}",
            f"ctime = {_format_time(stat.ctime)}",
            f"mZxid = 0x{stat.mzxid:x}",
            f"mtime = {_format_time(stat.mtime)}",
            f"pZxid = 0x{stat.pzxid:x}",
            f"cversion = {stat.cversion}",
            f"dataVersion = {stat.version}",
            f"aclVersion = {stat.aversion}",
            f"ephemeralOwner = {format_id(stat.ephemeral_owner)}",
            f"dataLength = {stat.data_length}",
            f"numChildren = {stat.num_children}",
        )
    )


def stat_value(stat: Stat) -> dict[str, Any]:
    """Return a Stat's fields by name; the zxids and the owner are hexadecimal texts."""
    return {
        "czxid": f"0x{stat.czxid:x}",
        "mzxid": f"0x{stat.mzxid:x}",
        "pzxid": f"0x{stat.pzxid:x}",
        "ctime": stat.ctime,
        "mtime": stat.mtime,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeral_owner": format_id(stat.ephemeral_owner),
        "data_length": stat.data_length,
        "num_children": stat.num_children,
    }


def format_id(session_id: int) -> str:
    """Return a session id as ZooKeeper prints it: as an unsigned hexadecimal number."""
    return f"0x{hex64(session_id)}"


def _format_time(time_ms: int) -> str:
    """Return a time in the format of Java's ``Date``, in this machine's time zone."""
    local = time.localtime(time_ms / 1000)
    return time.strftime("%a %b %d %H:%M:%S %Z %Y", local)


def read_acl(text: str) -> AclList:
    """Parse an ACL that a user wrote; raises UsageError."""
    try:
        return parse_acl(text)
    except AclError as error:
        raise UsageError(str(error)) from None


def acl_value(acl: AclList) -> list[dict[str, str]]:
    """Return an ACL as a list of entries."""
    return [
        {
            "scheme": entry.id.scheme,
            "id": entry.id.id,
            "permissions": format_permissions(entry.perms),
        }
        for entry in acl
    ]


def show_event(event: Event) -> Answer:
    """Return the answer that shows a watch event."""
    return _show_event(_EVENT_NAMES[event.type], event.path, event.zxid)


def show_removed(kinds: Iterable[WatchKind], path: str) -> list[Answer]:
    """Return the answers that show removed watches."""
    names = sorted({_REMOVED_NAMES[kind] for kind in kinds})
    return [_show_event(name, path, -1) for name in names]


def _show_event(name: str, path: str, zxid: int) -> Answer:
    return Answer(
        {"event": name, "path": path, "zxid": f"0x{zxid:x}" if zxid >= 0 else None},
        f"\nWATCHER::\n\nWatchedEvent state:SyncConnected type:{name} path:{path} zxid: {zxid}",
    )
