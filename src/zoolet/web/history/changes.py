"""The changes of a znode or of a subtree from an archive or a data directory.

Invariants: the number of changes and values in memory is bounded; each value has the ACL that
the znode had at that time, or none if that is not known.
"""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from zoolet.exports.lines import read_data
from zoolet.web.history.permission import AclOfPast, Acls, Judge, acl_in
from zoolet.web.history.places import Places
from zoolet.web.values.short import Short, short

MOST_CHANGES: Final = 500
"""The newest changes, which are shown; older ones are only counted."""

_MOST_VALUES: Final = 5000
_HIDDEN_VALUE: Final = "the value is hidden: its ACL did not permit you to read it"
_KINDS: Final = {
    "Create": "created",
    "CreateContainer": "created",
    "CreateTtl": "created",
    "SetData": "data",
    "SetAcl": "acl",
    "Delete": "deleted",
    "missing_txns": "missing",
    "abandoned_txns": "missing",
}


class PastChange(NamedTuple):
    """A change in the past.

    Attributes:
        time: when it happened, as text; "" if it is not known.
        kind: ``created``, ``data``, ``acl``, ``deleted`` or ``missing``.
        path: the znode; "" for missing txns.
        zxid: the zxid, like 0x1a2b.
        version: the version of the data; None if it is not known.
        old: the data before; None if they are not known.
        old_acl: the ACL before.
        new: the data after; None if they are not known.
        new_acl: the ACL after.
        note: why a value is not shown, or what is missing.
    """

    time: str
    kind: str
    path: str
    zxid: str
    version: int | None
    old: Short | None
    old_acl: AclOfPast
    new: Short | None
    new_acl: AclOfPast
    note: str

    @property
    def acl(self) -> AclOfPast:
        """The ACL of the znode at the time of the change."""
        return self.new_acl if self.kind in {"created", "acl"} else self.old_acl


class PastChanges:
    """Collects the changes of lines that ``zoolet data history`` prints.

    Attributes:
        changes: the newest changes, the oldest first.
        num_left_out: the number of older ones.
        acls: the last ACL of each path.
    """

    def __init__(self, places: Places) -> None:
        self.changes: deque[PastChange] = deque(maxlen=MOST_CHANGES)
        self.num_left_out = 0
        self.acls = Acls()
        self._places = places
        self._values: OrderedDict[str, Short] = OrderedDict()

    async def read(self, lines: AsyncIterator[dict[str, Any]]) -> None:
        """Read all lines."""
        async for line in lines:
            change = self._change(line)
            if change is None:
                continue
            if len(self.changes) == MOST_CHANGES:
                self.num_left_out += 1
            self.changes.append(change)

    def _change(self, line: dict[str, Any]) -> PastChange | None:
        kind = _KINDS.get(str(line.get("type")))
        if kind is None:
            return None
        if kind == "missing":
            return _gap(line)
        path = self._places.shown(line.get("path"))
        if path is None:
            return None
        before = self.acls.get(path)
        old = self._values.pop(path, None) if kind != "acl" else None
        after, new, version = before, None, None
        if kind in {"created", "acl"}:
            after = acl_in(line.get("acl"))
            self.acls.put(path, after)
        if kind in {"created", "data"}:
            new = _short(line)
            self._values[path] = new
            if len(self._values) > _MOST_VALUES:
                self._values.popitem(last=False)
            found = line.get("version", 0 if kind == "created" else None)
            version = found if isinstance(found, int) else None
        if kind == "created":
            old, before = None, None
        time, zxid = str(line.get("time", "")), str(line.get("zxid", ""))
        return PastChange(time, kind, path, zxid, version, old, before, new, after, "")


def _gap(line: dict[str, Any]) -> PastChange:
    if line.get("type") == "missing_txns":
        note = f"txns are missing after {line.get('after')}: {line.get('reason')}"
    else:
        note = (
            f"the server was set back: it does not have the txns after {line.get('after')} until"
            f" {line.get('until')} any more"
        )
    return PastChange("", "missing", "", "", None, None, None, None, None, note)


def _short(line: dict[str, Any]) -> Short:
    try:
        return short(read_data(line))
    except (ValueError, KeyError, TypeError):
        return Short("", "null", 0, is_cut=True)


async def permitted(changes: list[PastChange], judge: Judge) -> tuple[list[PastChange], int]:
    """Return what a user may see of changes, and the number of those that are hidden."""
    await judge.learn(change.path for change in changes if change.path)
    shown: list[PastChange] = []
    num_hidden = 0
    for change in changes:
        if change.path and not judge.may_see(change.path, change.acl):
            num_hidden += 1
            continue
        zxid = int(change.zxid or "0", 16)
        old, new = change.old, change.new
        if old is not None and not judge.may_read(change.path, change.old_acl, zxid):
            old = None
        if new is not None and not judge.may_read(change.path, change.new_acl, zxid):
            new = None
        is_cut = (old, new) != (change.old, change.new)
        note = _HIDDEN_VALUE if is_cut else change.note
        shown.append(change._replace(old=old, new=new, note=note))
    return shown, num_hidden
