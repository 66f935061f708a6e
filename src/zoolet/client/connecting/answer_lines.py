"""Lines of the answers to cons, dump, wchc and wchs. No I/O.

Source: the answers of Apache ZooKeeper 3.9.5 (``ConsCommand``, ``DumpCommand``, ``WatchCommand``,
``SessionTrackerImpl`` and ``LearnerSessionTracker``) and of zoolet.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NamedTuple

_CONNECTION: Final = re.compile(r" ?/?(?P<address>\S{1,200})\[\d+\]\((?P<figures>.*)\)$")
_SESSION: Final = re.compile(r"\s*0x([0-9a-f]{1,16})\b:?(?:\s+(\d{1,12})ms)?")
_WATCHES: Final = re.compile(r"(\d+) connections watching (\d+) paths\s+Total watches:(\d+)")
_MOST_FIGURES: Final = 1000
_OPERATION: Final = re.compile(r"\w{0,20}")


class ConnectedSession(NamedTuple):
    """A session with its connection, from a line of cons.

    Attributes:
        id: the id, from 0 to 2**64 - 1.
        server: the server that has the connection.
        address: the address of the client.
        since_ms: when the connection was made, in ms since the epoch.
        timeout_ms: the session timeout.
        queued: requests that wait.
        received: requests that were received.
        sent: replies and events that were sent.
        last_operation: the short name of the last request; "" if it is not known.
        last_zxid: the last zxid that the client has seen, as text.
        latencies_ms: the last, the least, the average and the greatest latency.
    """

    id: int
    server: str
    address: str
    since_ms: int
    timeout_ms: int
    queued: int
    received: int
    sent: int
    last_operation: str
    last_zxid: str
    latencies_ms: tuple[int, int, int, int]


def parse_connection(line: str, server: str) -> ConnectedSession | None:
    """Return the session of a line of cons; None for other lines, also without a session."""
    found = _CONNECTION.match(line)
    if found is None:
        return None
    pairs = (pair.split("=", 1) for pair in found["figures"][:_MOST_FIGURES].split(","))
    figures = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    session_id = session_id_of(figures.get("sid", ""))
    if not session_id:
        return None

    def number(name: str) -> int:
        text = figures.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0

    operation = figures.get("lop", "")
    latencies_ms = (number("llat"), number("minlat"), number("avglat"), number("maxlat"))
    return ConnectedSession(
        session_id,
        server,
        found["address"],
        number("est"),
        number("to"),
        number("queued"),
        number("recved"),
        number("sent"),
        operation if _OPERATION.fullmatch(operation) else "",
        figures.get("lzxid", ""),
        latencies_ms,
    )


def session_id_of(text: str) -> int:
    """Return the id in ``0x...``; 0 for another text."""
    found = _SESSION.fullmatch(text)
    return int(found[1], 16) if found is not None else 0


class DumpLine(Enum):
    """What a line of dump says."""

    SESSION = auto()
    OWNER = auto()
    EPHEMERAL = auto()


class DumpReader:
    """Reads the lines of an answer to dump, which have sections."""

    def __init__(self) -> None:
        self._section = ""

    def read(self, lines: list[str]) -> Iterator[tuple[DumpLine, int, str]]:
        """Yield the kind of each line, the id of a session, and the path of an ephemeral.

        The text of a session without a connection is its timeout in ms, or "" if it is not known.
        """
        for line in lines:
            if line.startswith("\t/") and self._section == "ephemeral nodes dump:":
                yield DumpLine.EPHEMERAL, 0, line[1:]
            elif line[:1].isalpha() and line.endswith(" dump:"):
                self._section = line
            elif self._section != "Connections dump:" and (found := _SESSION.match(line)):
                is_owner = self._section == "ephemeral nodes dump:"
                kind = DumpLine.OWNER if is_owner else DumpLine.SESSION
                yield kind, int(found[1], 16), found[2] or ""


def watched(line: str) -> tuple[int, str]:
    """Return the session of a line of wchc, or 0 and the path that it watches, or 0 and ""."""
    if line.startswith("\t/"):
        return 0, line[1:]
    return session_id_of(line), ""


class WatchTotals(NamedTuple):
    """The numbers of an answer to wchs."""

    connections: int
    paths: int
    watches: int


def parse_wchs(text: str) -> WatchTotals | None:
    """Return the numbers of an answer to wchs; None for another text."""
    found = _WATCHES.match(text)
    return WatchTotals(*map(int, found.groups())) if found is not None else None
