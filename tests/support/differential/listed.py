"""The differences that docs/compatibility.md lists, and which of them explains what was seen.

The page has a row for each: an id, what Apache ZooKeeper 3.9.5 answers, what zoolet answers, the
reason.
``CONDITIONS`` says of each id which requests it is about. A difference is excused only by a row
whose answers are those that were seen, to a request that meets the row's condition.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from tests.support.differential.play import Difference, Event, Observations
from tests.support.differential.step_types import Burst, Request
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.wire.jute import INT, Reader

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"

EVENT, NO_EVENT = "event", "no event"


class Listed(NamedTuple):
    """A row of the page.

    Attributes:
        name: its id.
        apache: what Apache ZooKeeper answers, as ``outcome`` writes it.
        zoolet: what zoolet answers.
    """

    name: str
    apache: str
    zoolet: str


def read_listed(page: str) -> dict[str, Listed]:
    """Return the page's rows by id."""
    return {
        name: Listed(name, _in_code(apache), _in_code(zoolet))
        for name, _request, apache, zoolet, reason in _rows(page, "Listed differences", 5)
        if reason
    }


def read_not_compared(page: str) -> set[str]:
    """Return the ids of what the page says is not compared."""
    return {name for name, _what, reason in _rows(page, "Not compared", 3) if reason}


def _rows(page: str, title: str, columns: int) -> Iterator[list[str]]:
    section = re.split(r"^#+ ", page.split(f"# {title}\n")[1], flags=re.MULTILINE)[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == columns and re.fullmatch(r"`[a-z-]+`", cells[0]):
            yield [cells[0].strip("`"), *cells[1:]]


def _in_code(cell: str) -> str:
    found = re.match(r"`([^`]+)`", cell)
    if found is None:
        raise ValueError(f"no answer in: {cell}")
    return found[1]


class Excuses:
    """Excuses differences by the rows of the page.

    Attributes:
        used: how often each row was needed.
    """

    def __init__(self, listed: dict[str, Listed]) -> None:
        self.used: Counter[str] = Counter()
        self._listed = listed

    def cover(self, difference: Difference) -> bool:
        """Say whether listed differences explain this one whole, and count them."""
        unlike = [one for one in unlike_answers(difference) if not one.is_end]
        names = [self._name_of(one) for one in unlike]
        if not names or None in names:
            return False
        self.used.update(filter(None, names))
        return True

    def _name_of(self, unlike: "Unlike") -> str | None:
        seen = unlike.outcomes()
        for name, row in self._listed.items():
            is_meant = unlike.request is not None and CONDITIONS[name](unlike.request)
            if is_meant and seen == (row.apache, row.zoolet):
                return name
        return None


class _Answer(NamedTuple):
    """What came for one request: the events before the reply, and the reply or another end."""

    events: tuple[Event, ...]
    reply: object


NOTHING = _Answer((), "nothing")


class Unlike(NamedTuple):
    """Two servers' answers to one request that are not the same; no request: to a Connect."""

    request: Request | None
    apache: _Answer
    zoolet: _Answer

    @property
    def is_end(self) -> bool:
        """Whether this is a connection's end, which the answer before has brought about."""
        return self.request is None and NOTHING in (self.apache, self.zoolet)

    def outcomes(self) -> tuple[str, str]:
        """Return the answers as the page writes them."""
        if self.apache.reply == self.zoolet.reply:
            return _events_beside(self.apache, self.zoolet)
        apache, zoolet = _outcome(self.apache.reply), _outcome(self.zoolet.reply)
        if apache != zoolet:
            return apache, zoolet
        return apache + _body(self.apache.reply), zoolet + _body(self.zoolet.reply)


def _events_beside(apache: _Answer, zoolet: _Answer) -> tuple[str, str]:
    missing = Counter(map(str, apache.events)) - Counter(map(str, zoolet.events))
    extra = Counter(map(str, zoolet.events)) - Counter(map(str, apache.events))
    if missing and extra:
        return "events", "other events"
    return (EVENT, NO_EVENT) if missing else (NO_EVENT, EVENT)


def _outcome(reply: object) -> str:
    """Return a reply's error in the page's words; what is no reply as it is."""
    if not isinstance(reply, tuple) or len(reply) != 4:
        return str(reply)
    err = reply[2]
    if err == ErrorCode.THROTTLED:
        return "THROTTLEDOP"
    return "OK" if err == 0 else ErrorCode(err).name.replace("_", "")


def _body(reply: object) -> str:
    is_reply = isinstance(reply, tuple) and len(reply) == 4 and bool(reply[3])
    return " with a body" if is_reply else ""


def unlike_answers(difference: Difference) -> list[Unlike]:
    """Return what is unlike, request by request."""
    requests = difference.step.requests if isinstance(difference.step, Burst) else ()
    expected, actual = _answers(difference.expected), _answers(difference.actual)
    while expected and actual and expected[0] == actual[0] and _is_connected(expected[0].reply):
        del expected[0], actual[0]
    return [
        Unlike(request, apache or NOTHING, zoolet or NOTHING)
        for request, apache, zoolet in zip_longest(requests, expected, actual)
        if apache != zoolet
    ]


def _is_connected(reply: object) -> bool:
    first = next(iter(reply), None) if isinstance(reply, tuple) else None
    return first in {"connected", "no such session"}


def _answers(observations: Observations) -> list[_Answer]:
    answers: list[_Answer] = []
    events: list[Event] = []
    for observed in observations:
        if isinstance(observed, Event):
            events.append(observed)
        else:
            answers.append(_Answer(tuple(events), observed))
            events = []
    if events:
        answers.append(_Answer(tuple(events), "nothing"))
    return answers


# --- Which requests a row is about


NULL = INT.pack(-1)


def _about(*op_codes: OpCode) -> Callable[[Request], bool]:
    return lambda request: request.op_code in op_codes


def parts_of(request: Request) -> list[int]:
    """Return the op codes of a multiRead's parts, as far as its body can be read."""
    parts: list[int] = []
    if request.op_code != OpCode.MULTI_READ:
        return parts
    reader = Reader(request.body)
    while True:
        op_code, is_end, _ = reader.read_int(), reader.read_bool(), reader.read_int()
        if is_end:
            return parts
        parts.append(op_code)
        if op_code not in {OpCode.GET_DATA, OpCode.GET_CHILDREN}:
            return parts
        reader.read_buffer()
        reader.read_bool()


def _is_refused_late(request: Request) -> bool:
    """Say whether the first part is a write, or a part has a null path."""
    if request.op_code != OpCode.MULTI_READ:
        return False
    is_write = parts_of(request)[:1] not in ([], [OpCode.GET_DATA], [OpCode.GET_CHILDREN])
    return is_write or INT.pack(-1) + NULL in request.body


def _is_beyond_the_plane(request: Request) -> bool:
    """Say whether a path has a character beyond U+FFFF, which is four bytes in UTF-8."""
    return request.op_code == OpCode.SYNC and any(byte >= 0xF0 for byte in request.body)


def _is_quota_of_root(request: Request) -> bool:
    path = b"/zookeeper/quota/zookeeper_limits"
    return request.op_code == OpCode.CREATE and request.body[4:].startswith(path)


def _has_null_list(request: Request) -> bool:
    is_about_watches = request.op_code in {OpCode.SET_WATCHES, OpCode.SET_WATCHES2}
    return is_about_watches and INT.pack(-1) in request.body[8:]


CONDITIONS: dict[str, Callable[[Request], bool]] = {
    "delete-container": _about(OpCode.DELETE_CONTAINER),
    "ttl-flags": _about(OpCode.CREATE_TTL),
    "quota-of-the-root": _is_quota_of_root,
    "quota-text": _about(OpCode.CREATE),
    "multi-read-of-writes": _is_refused_late,
    "multi-read-operations": lambda request: len(parts_of(request)) > 1000,
    "multi-read-bytes": lambda request: len(parts_of(request)) > 1,
    "set-watches-read": lambda request: (
        _about(OpCode.SET_WATCHES, OpCode.SET_WATCHES2)(request) and not _has_null_list(request)
    ),
    "acl-entries": _about(OpCode.CREATE, OpCode.SET_ACL),
    "identities-of-a-connection": _about(OpCode.AUTH),
    "null-list-of-watches": _has_null_list,
    "beyond-the-plane": _is_beyond_the_plane,
    "ephemerals-of-a-session": _about(OpCode.CREATE, OpCode.CREATE2),
    "watches-of-a-connection": _about(OpCode.ADD_WATCH),
}
"""By id: whether a request is of the kind that the row is about."""

MET_AT_RANDOM = frozenset(
    {"multi-read-of-writes", "null-list-of-watches", "beyond-the-plane", "set-watches-read"}
)
"""The ids that the random comparison may need; every other needs settings or a state of its own."""

NOT_COMPARED = frozenset(
    {
        "large-sessions",
        "large-txns",
        "long-paths",
        "children-order",
        "events-order",
        "identities-order",
        "after-set-acl",
        "pipelined-quota",
        "quota-of-a-session",
    }
)
"""The ids of what the comparison leaves open: see ``replies.py``, ``play.py`` and ``steps.py``."""
