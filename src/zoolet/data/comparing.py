"""The difference between two states."""

from collections.abc import Iterator
from typing import NamedTuple

from zoolet.model import paths
from zoolet.model.numbers import hex64
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import Znode


class Difference(NamedTuple):
    """A path that differs between the left and the right state.

    Attributes:
        sign: ``-`` if the path exists only on the left, ``+`` if it exists only on the right,
            ``~`` if it differs.
        path: the path of the znode; ``session 0x...`` for a session.
        fields: the names of the different fields, with the left and the right value.
    """

    sign: str
    path: str
    fields: dict[str, tuple[object, object]]


def differences(
    left: StateMachine, right: StateMachine, *, below: str | None = None
) -> Iterator[Difference]:
    """Yield the differences of the znodes, sorted by path, then those of the sessions.

    ``below``: only those of this znode and of the znodes below it, without sessions.
    """
    start = None if below is None else paths.join(below, "")
    for path in sorted(_paths_that_differ(left.tree, right.tree)):
        if start is not None and path != below and not path.startswith(start):
            continue
        ours, theirs = left.tree.find(path), right.tree.find(path)
        if ours is None or theirs is None:
            yield Difference("+" if ours is None else "-", path, {})
        else:
            fields = _fields(left.tree, right.tree, path, ours, theirs)
            if fields:
                yield Difference("~", path, fields)
    if below is not None:
        return
    for session_id in sorted(left.sessions.by_id.keys() ^ right.sessions.by_id.keys()):
        sign = "-" if session_id in left.sessions.by_id else "+"
        yield Difference(sign, f"session 0x{hex64(session_id)}", {})


def _paths_that_differ(left: Tree, right: Tree) -> Iterator[str]:
    """Yield the paths of the znodes that differ, without making a Znode of each."""
    ours, theirs = left.all_records(), right.all_records()
    yield from ours.keys() ^ theirs.keys()
    for path, record in ours.items():
        if path in theirs and (
            record != theirs[path]
            or left.acl_of(path) != right.acl_of(path)
            or left.created_under(path) != right.created_under(path)
            or left.perishable.get(path) != right.perishable.get(path)
        ):
            yield path


def _fields(
    left: Tree, right: Tree, path: str, ours: Znode, theirs: Znode
) -> dict[str, tuple[object, object]]:
    values = {
        "data": (ours.data, theirs.data),
        "acl": (ours.acl, theirs.acl),
        "created": (ours.created, theirs.created),
        "owner": (left.perishable.get(path), right.perishable.get(path)),
    }
    stats = zip(ours.stat._asdict().items(), theirs.stat, strict=True)
    values |= {name: (value, other) for (name, value), other in stats}
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}
