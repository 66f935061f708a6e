"""The comparison of a state with a subtree of a running server: the result is a `Plan`.

Both are read in the order of a walk: depth first, children in order of name. So the comparison
needs memory only for the differences. It does no I/O: the caller passes the znodes of the server.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Final

from zoolet.archive.live.plan import CounterRaise, Plan, Step, StepKind
from zoolet.client.transfers import is_ephemeral, is_system
from zoolet.exports.lines import ExportedZnode
from zoolet.model import paths
from zoolet.model.stat import STAT_BYTES, Stat
from zoolet.state_machine.lifetimes import owner_of
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import data_in

_SEQUENTIAL: Final = re.compile(r"\d{10}$")
"""The end of the name of a sequential znode."""


def znode_of(tree: Tree, path: str) -> ExportedZnode:
    """Return an existing znode of a state; its Stat also shows a container or a TTL znode."""
    record = tree.record_of(path) or b""
    stat = Stat.unpack(record, len(record) - STAT_BYTES)
    owner = owner_of(tree, path, stat)
    return ExportedZnode(
        path,
        data_in(record),
        tree.acl_of(path),
        stat._replace(ephemeral_owner=owner),
        tree.created_under(path),
    )


def in_order(tree: Tree, root: str) -> Iterator[str]:
    """Yield the paths of a subtree in the order of a walk, without ZooKeeper's own znodes."""
    waiting = [root] if root in tree.records else []
    while waiting:
        path = waiting.pop()
        if is_system(path):
            continue
        yield path
        waiting += sorted(tree.children_of(path), reverse=True)


async def compare(
    tree: Tree,
    root: str,
    missing_above: list[str],
    present: AsyncIterator[ExportedZnode],
    most_counter_steps: int,
) -> Plan:
    """Return the plan that makes a server's subtree equal to a state.

    Args:
        tree: the state.
        root: the root of the subtree; it must exist in the state.
        missing_above: the ancestors of ``root`` that the server does not have, from above.
        present: the znodes of the server's subtree in the order of a walk.
        most_counter_steps: a counter that needs more steps is only listed in the plan.
    """
    comparison = _Comparison(tree, root)
    for path in missing_above:
        comparison.add_missing(path)
    wanted = in_order(tree, root)
    following = next(wanted, None)
    async for znode in present:
        place = _place(znode.path)
        while following is not None and _place(following) < place:
            comparison.add_missing(following)
            following = next(wanted, None)
        if following == znode.path:
            comparison.add_both(znode)
            following = next(wanted, None)
        else:
            comparison.add_extra(znode)
    while following is not None:
        comparison.add_missing(following)
        following = next(wanted, None)
    return comparison.finish(most_counter_steps)


def _place(path: str) -> list[str]:
    """Return a value that is less than that of another path if a walk visits this path first."""
    return [] if path == paths.ROOT else path[1:].split("/")


def _ancestors(path: str) -> Iterator[str]:
    while path != paths.ROOT:
        path = paths.parent_of(path)
        yield path


class _Comparison:
    """The differences found so far."""

    def __init__(self, tree: Tree, root: str) -> None:
        self._tree = tree
        self._plan = Plan(root)
        self._created_below: Counter[str] = Counter()
        self._sequential_below: set[str] = set()
        self._counters: list[tuple[str, int, int]] = []
        self._barrier = ""

    def add_missing(self, path: str) -> None:
        """Add a znode that only the state has."""
        plan, znode = self._plan, znode_of(self._tree, path)
        if is_ephemeral(znode):
            plan.lost_ephemerals.append(path)
        elif self._barrier and path.startswith(self._barrier):
            plan.blocked.append(path)
        else:
            plan.creations.append(Step(StepKind.CREATE, path))
            self._note_creation(path)
            self._note_counter(path, znode.created, 0)

    def _note_creation(self, path: str) -> None:
        if path == paths.ROOT:
            return
        parent = paths.parent_of(path)
        self._created_below[parent] += 1
        if _SEQUENTIAL.search(path):
            self._sequential_below.add(parent)

    def _note_counter(self, path: str, wanted: int, present: int) -> None:
        if wanted > present:
            self._counters.append((path, wanted, present))

    def add_both(self, present: ExportedZnode) -> None:
        """Add a znode that the state and the server have."""
        plan, path = self._plan, present.path
        wanted = znode_of(self._tree, path)
        if is_ephemeral(wanted):
            # The state without its ephemerals has no znode here.
            if not is_ephemeral(present):
                plan.lost_ephemerals.append(path)
            self.add_extra(present)
        elif is_ephemeral(present):
            plan.blocked.append(path)
            self._barrier = f"{path}/"
        else:
            if wanted.data != present.data:
                plan.data.append(Step(StepKind.SET_DATA, path, present.stat.version))
            if wanted.acl != present.acl:
                plan.acls.append(Step(StepKind.SET_ACL, path, present.stat.aversion))
            self._note_counter(path, wanted.created, present.created)

    def add_extra(self, present: ExportedZnode) -> None:
        """Add a znode that only the server has."""
        if is_ephemeral(present):
            self._plan.kept_ephemerals.append(present.path)
        else:
            step = Step(StepKind.DELETE, present.path, present.stat.version)
            self._plan.deletions.append(step)

    def finish(self, most_counter_steps: int) -> Plan:
        """Return the plan."""
        plan = self._plan
        kept = {above for path in plan.kept_ephemerals for above in _ancestors(path)}
        plan.kept_parents = [step.path for step in plan.deletions if step.path in kept]
        plan.deletions = [step for step in reversed(plan.deletions) if step.path not in kept]
        for path, wanted, present in self._counters:
            raised = self._raise_of(path, wanted, present, most_counter_steps)
            if raised.steps > most_counter_steps:
                plan.counters_too_far.append(raised)
            elif raised.steps > 0:
                plan.counters.append(raised)
        return plan

    def _raise_of(self, path: str, wanted: int, present: int, most: int) -> CounterRaise:
        below = self._created_below[path]
        first = CounterRaise(path, wanted, wanted - present, is_first=True)
        last = CounterRaise(path, wanted, wanted - present - below, is_first=False)
        is_first = path in self._sequential_below or not below
        return first if is_first and first.steps <= most else last
