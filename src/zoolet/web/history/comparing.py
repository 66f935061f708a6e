"""Two states of a subtree, compared: which znodes differ, with their data side by side.

Invariant: the number of znodes, the lines and the characters of each are bounded.
"""

import difflib
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from zoolet.exports.lines import read_data
from zoolet.web.history.permission import AclOfPast, Acls, Judge, acl_in
from zoolet.web.history.places import Places
from zoolet.web.values.values import value_of

MOST_SHOWN: Final = 100
"""Znodes on one page."""

MOST_COMPARED: Final = 10_000
"""Differences of a subtree; above it, the comparison ends."""

_MOST_LINES: Final = 200
_MOST_CHARACTERS: Final = 8000
_MOST_BYTES: Final = 256 << 10
_KINDS: Final = {"+": "created", "-": "deleted", "~": "changed"}
_CONTEXT: Final = 3


class Side(NamedTuple):
    """A znode in one of the states: its data as text, its ACL, and its counters."""

    text: str
    length: int | None
    is_cut: bool
    acl: AclOfPast
    mzxid: int
    czxid: int


class Difference(NamedTuple):
    """A znode that differs.

    Attributes:
        path: the znode.
        kind: ``created``, ``deleted`` or ``changed``.
        what: what is different of a changed znode.
        before: the first state; None if the znode did not exist then.
        after: the second state.
        is_hidden: whether the data are hidden from the user.
        rows: the lines of both sides, and whether they differ.
    """

    path: str
    kind: str
    what: list[str]
    before: Side | None
    after: Side | None
    is_hidden: bool
    rows: list[tuple[str, str, bool]]


class Comparison:
    """Collects the lines that ``zoolet data diff --json`` prints.

    Attributes:
        found: the differences of one page.
        total: the number of all differences.
        acls: the ACLs of the paths, the newest that are known.
    """

    def __init__(self, places: Places, start: int) -> None:
        self.found: list[Difference] = []
        self.total = 0
        self.acls = Acls()
        self._places = places
        self._start = start

    async def read(self, lines: AsyncIterator[dict[str, Any]]) -> None:
        """Read all lines; stop at `MOST_COMPARED` differences."""
        async for line in lines:
            path = self._places.shown(line.get("path"))
            if path is None:
                continue
            before, after = line.get("before"), line.get("after")
            newest = after if isinstance(after, dict) else before
            if isinstance(newest, dict):
                self.acls.put(path, acl_in(newest.get("acl")))
            kind = _KINDS.get(str(line.get("sign")))
            what = _what(before, after) if kind == "changed" else []
            if kind is None or (kind == "changed" and not what):
                continue
            if self._start <= self.total < self._start + MOST_SHOWN:
                sides = _side(before), _side(after)
                self.found.append(Difference(path, kind, what, *sides, is_hidden=False, rows=[]))
            self.total += 1
            if self.total >= MOST_COMPARED:
                return


def _side(shown: object) -> Side | None:
    if not isinstance(shown, dict):
        return None
    try:
        data = read_data(shown)
    except (ValueError, KeyError, TypeError):
        data = None
    stat = shown.get("stat")
    numbers = stat if isinstance(stat, dict) else {}
    text, is_cut = "", False
    if data is not None and len(data) <= _MOST_BYTES:
        value = value_of(data)
        text = value.text if value.text is not None else value.content[:2048].hex(" ", 4)
        is_cut = len(text) > _MOST_CHARACTERS or (value.text is None and len(value.content) > 2048)
    elif data is not None:
        text, is_cut = data[:2048].hex(" ", 4), True
    return Side(
        text[:_MOST_CHARACTERS],
        None if data is None else len(data),
        is_cut,
        acl_in(shown.get("acl")),
        int(numbers.get("mzxid", 0)),
        int(numbers.get("czxid", 0)),
    )


def _what(before: object, after: object) -> list[str]:
    """Return what differs, except the counters of children."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return []
    found = []
    names = ("data", "data_base64")
    if any(before.get(name) != after.get(name) for name in names):
        found.append("data")
    if before.get("acl") != after.get("acl"):
        found.append("ACL")
    stats = [side["stat"] if isinstance(side.get("stat"), dict) else {} for side in (before, after)]
    if stats[0].get("czxid") != stats[1].get("czxid"):
        found.append("deleted and created again")
    elif not found and stats[0].get("mzxid") != stats[1].get("mzxid"):
        found.append("set to the same data")
    return found


async def permitted(found: list[Difference], judge: Judge) -> tuple[list[Difference], int]:
    """Return what a user may see of differences, and the number of those that are hidden."""
    await judge.learn(difference.path for difference in found)
    shown: list[Difference] = []
    num_hidden = 0
    for difference in found:
        sides = [side for side in (difference.before, difference.after) if side is not None]
        if not all(judge.may_see(difference.path, side.acl) for side in sides):
            num_hidden += 1
            continue
        if all(judge.may_read(difference.path, side.acl, side.mzxid) for side in sides):
            rows = side_by_side(difference.before, difference.after)
            shown.append(difference._replace(rows=rows))
        else:
            shown.append(difference._replace(before=None, after=None, is_hidden=True))
    return shown, num_hidden


def side_by_side(before: Side | None, after: Side | None) -> list[tuple[str, str, bool]]:
    """Return the lines of two texts beside each other, with few equal ones between differences."""
    left = before.text.splitlines()[:_MOST_LINES] if before is not None else []
    right = after.text.splitlines()[:_MOST_LINES] if after is not None else []
    rows: list[tuple[str, str, bool]] = []
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        for tag, left_start, left_end, right_start, right_end in group:
            size = max(left_end - left_start, right_end - right_start)
            for place in range(size):
                one = left[left_start + place] if left_start + place < left_end else ""
                other = right[right_start + place] if right_start + place < right_end else ""
                rows.append((one, other, tag != "equal"))
    return rows
