"""The plan of a restore into a running server: each change, and the state that it expects.

This module does no I/O. It imports ``console``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import NamedTuple

from zoolet.console.texts import counted, escaped


class StepKind(Enum):
    """The kinds of changes; the value is the name in a plan."""

    CREATE = "create"
    SET_DATA = "set data"
    SET_ACL = "set ACL"
    DELETE = "delete"


class Step(NamedTuple):
    """One change of a znode.

    Attributes:
        kind: what changes.
        path: the znode.
        version: the version that the comparison saw (SET_ACL: the aversion); the server refuses
            the change if the znode has another one. -1 for CREATE, which needs a missing znode.
    """

    kind: StepKind
    path: str
    version: int = -1


class CounterRaise(NamedTuple):
    """A parent whose next sequential child would have a lower number than in the restored state.

    Attributes:
        path: the parent.
        wanted: the number of children ever created in the restored state, which is the number of
            the next sequential child.
        steps: the number of children to create and delete again.
        is_first: whether the counter is raised before the parent's children are created. So a
            client that creates a sequential child meanwhile gets no number of a restored child.
    """

    path: str
    wanted: int
    steps: int
    is_first: bool


@dataclass(slots=True)
class Plan:
    """The changes that make the subtree ``root`` of a server equal to a state.

    Attributes:
        root: the root of the subtree.
        creations: CREATE, parents before children.
        data: SET_DATA.
        acls: SET_ACL, of znodes that exist.
        deletions: DELETE, children before parents.
        counters: the parents whose counters are raised.
        counters_too_far: the parents whose counters need more steps than the bound.
        lost_ephemerals: ephemerals of the state: their sessions cannot own new znodes.
        kept_ephemerals: ephemerals of the server that the state does not have. Clients that are
            connected own them, so they stay.
        kept_parents: znodes that stay only because a kept ephemeral is below them.
        blocked: znodes of the state that cannot be created, because the server has an ephemeral
            at the path or above it.
    """

    root: str
    creations: list[Step] = field(default_factory=list)
    data: list[Step] = field(default_factory=list)
    acls: list[Step] = field(default_factory=list)
    deletions: list[Step] = field(default_factory=list)
    counters: list[CounterRaise] = field(default_factory=list)
    counters_too_far: list[CounterRaise] = field(default_factory=list)
    lost_ephemerals: list[str] = field(default_factory=list)
    kept_ephemerals: list[str] = field(default_factory=list)
    kept_parents: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        """All changes of znodes."""
        return [*self.creations, *self.data, *self.acls, *self.deletions]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.steps and not self.counters

    def _listed(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each list of znodes that need no change or get none, with its name."""
        yield "ephemeral of the state, not restored", self.lost_ephemerals
        yield "ephemeral of a connected client, stays", self.kept_ephemerals
        yield "stays, because a client's ephemeral is below it", self.kept_parents
        yield "BLOCKED by an ephemeral of a connected client", self.blocked

    def summary(self) -> Iterator[str]:
        """Yield the lines with the numbers of changes."""
        yield (
            f"{counted(len(self.creations), 'znode')} to create, {len(self.data)} with other data,"
            f" {len(self.acls)} with another ACL, {len(self.deletions)} to delete"
        )
        if self.counters:
            steps = sum(raised.steps for raised in self.counters)
            yield (
                f"{counted(len(self.counters), 'sequence counter')} to raise, by creating and"
                f" deleting {counted(steps, 'znode')}"
            )
        if self.counters_too_far:
            most = max(raised.steps for raised in self.counters_too_far)
            yield (
                f"{counted(len(self.counters_too_far), 'sequence counter')} to leave lower than in"
                f" the state. To raise all of them, add: --most-counter-steps {most}"
            )
        for name, paths in self._listed():
            if paths:
                yield f"{counted(len(paths), 'znode')}: {name}"

    def lines(self, most: int) -> Iterator[str]:
        """Yield a line for each znode of the plan, up to ``most`` lines, and how many are left."""
        total = (
            len(self.steps) + len(self.counters) + sum(len(found) for _, found in self._listed())
        )
        yield from islice(self._all_lines(), most)
        if total > most:
            yield f"... and {total - most} more"

    def _all_lines(self) -> Iterator[str]:
        for step in self.steps:
            yield f"{step.kind.value:8}  {escaped(step.path)}"
        for raised in self.counters:
            yield f"raise the counter to {raised.wanted}  {escaped(raised.path)}"
        for raised in self.counters_too_far:
            lower = f"counter stays lower than {raised.wanted}, which needs {raised.steps} steps"
            yield f"{lower}  {escaped(raised.path)}"
        for name, paths in self._listed():
            for path in paths:
                yield f"{name}  {escaped(path)}"

    def objects(self) -> Iterator[dict[str, object]]:
        """Yield the plan as JSON objects: one for each znode."""
        for step in self.steps:
            shown: dict[str, object] = {"step": step.kind.name.lower(), "path": step.path}
            yield shown if step.kind is StepKind.CREATE else shown | {"version": step.version}
        for is_raised, counters in ((True, self.counters), (False, self.counters_too_far)):
            for raised in counters:
                yield {
                    "step": "raise_counter" if is_raised else "counter_too_far",
                    "path": raised.path,
                    "wanted": raised.wanted,
                    "steps": raised.steps,
                }
        for name, paths in (
            ("lost_ephemeral", self.lost_ephemerals),
            ("kept_ephemeral", self.kept_ephemerals),
            ("kept_parent", self.kept_parents),
            ("blocked", self.blocked),
        ):
            for path in paths:
                yield {"step": name, "path": path}
