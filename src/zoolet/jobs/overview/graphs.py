"""The dependencies of a batch as trees: for which batches and jobs it waits, and which wait for it.

A tree has at most `MOST_NODES` nodes, because a graph may have a million. This module imports
`zoolet.jobs.errors`, `zoolet.jobs.queue`, `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoolet.jobs.errors import JobError, JobNotFoundError, UnknownBatchError, UnreadableJobError
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.batches import BatchRecord
from zoolet.jobs.records.dependencies import is_job
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.znodes.batch_log import batch_path, chain_path, read_log, read_record
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import BATCHES, CHAINS

MOST_NODES = 200
"""The most nodes of a tree."""
DEPTH = 50
"""The most levels of a tree."""
READ_BATCHES = 5000
"""The most batches whose dependencies are read to find those that wait for a batch or a job."""
_LISTED_MOST = 100_000
"""The most children of a znode that are listed."""
COUNTED_JOBS = 10_000
"""The most jobs of a batch whose ends are counted for a tree."""


@dataclass(slots=True)
class Node:
    """A batch or a job in a tree.

    Attributes:
        name: the name of the batch or the job.
        about: a text about its state.
        when: the condition under which it starts; None if it has no dependencies.
        waits: whether it still waits for the condition.
        after: the batches and jobs of the condition.
        left_out: the number of further batches and jobs of the condition, which the tree lacks.
    """

    name: str
    about: str
    when: str | None = None
    waits: bool = False
    after: list["Node"] = field(default_factory=list)
    left_out: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the tree as a JSON object."""
        found: dict[str, Any] = {"name": self.name, "about": self.about}
        if self.when is not None:
            found |= {"when": self.when, "waits": self.waits}
            found |= {"after": [one.as_json() for one in self.after], "left_out": self.left_out}
        return found

    def lines(self) -> Iterator[str]:
        """Yield the lines of the tree."""
        yield self._line()
        parts: list[list[str]] = [list(one.lines()) for one in self.after]
        if self.left_out:
            parts.append([f"... and {self.left_out} others"])
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            yield ("└── " if is_last else "├── ") + part[0]
            yield from (("    " if is_last else "│   ") + line for line in part[1:])

    def _line(self) -> str:
        when = (
            "" if self.when is None else f", {'waits for' if self.waits else 'after'} {self.when}"
        )
        return f"{self.name}: {self.about}{when}"


def tree(queue: JobQueue, name: str) -> Node:
    """Return the tree of a batch or a job; a job has the dependencies of its batch.

    Raises:
        JobNotFoundError, UnknownBatchError: the batch or the job does not exist.
        UnreadableJobError: the record of the batch is invalid.
    """
    return _Trees(queue).node(name, 0)


class _Trees:
    """Makes a tree; each batch is described only one time."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._layout = queue.layout
        self._left = MOST_NODES
        self._seen: set[str] = set()

    def node(self, name: str, depth: int) -> Node:
        self._left -= 1
        if is_job(name):
            job = self._layout.find(name)
            return self._with_dependencies(Node(name, job.state), job.batch, depth)
        record = read_record(self._layout, name)
        about = f"{record.jobs} jobs"
        if record.jobs <= COUNTED_JOBS:
            ended, _ = read_log(self._layout, name, 0)
            states = Counter(ended.values())
            about += f", {states[JobState.SUCCESSFUL]} SUCCESSFUL, {states[JobState.FAILED]} FAILED"
        return self._with_dependencies(Node(name, about), name, depth)

    def _with_dependencies(self, node: Node, batch: str | None, depth: int) -> Node:
        if batch is None:
            return node
        try:
            dependencies = read_record(self._layout, batch).dependencies
        except UnknownBatchError:
            return node
        if dependencies is None:
            return node
        node.when = str(dependencies.when)
        node.waits = self._layout.znodes.exists(chain_path(self._layout, batch))
        if batch in self._seen:
            node.about += " (see above)"
            return node
        self._seen.add(batch)
        for number, name in enumerate(dependencies.after):
            if self._left <= 0 or depth == DEPTH:
                node.left_out = len(dependencies.after) - number
                break
            try:
                node.after.append(self.node(name, depth + 1))
            except (JobNotFoundError, UnknownBatchError):
                node.after.append(Node(name, "removed"))
            except JobError as error:
                node.after.append(Node(name, str(error)))
        return node


@dataclass(slots=True)
class Follower:
    """A batch or a job in a tree of the batches that wait for it.

    Attributes:
        name: the name of the batch or the job.
        when: the condition under which the batch starts; "" for the first node.
        waits: whether the batch still waits.
        followers: the batches that wait for it.
        left_out: the number of further batches, which the tree lacks.
    """

    name: str
    when: str = ""
    waits: bool = False
    followers: list["Follower"] = field(default_factory=list)
    left_out: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the tree as a JSON object."""
        return {
            "name": self.name,
            "when": self.when,
            "waits": self.waits,
            "followers": [one.as_json() for one in self.followers],
            "left_out": self.left_out,
        }


@dataclass(slots=True)
class JobGraph:
    """What a batch or a job waits for, and what waits for it.

    Attributes:
        before: the tree of what it waits for.
        after: the tree of what waits for it.
        batch: the batch of the job; None for a batch, or a job without one.
        unread: the number of batches whose dependencies were not read. They may wait for it, too.
    """

    before: Node
    after: Follower
    batch: str | None
    unread: int


def job_graph(queue: JobQueue, name: str) -> JobGraph:
    """Return the graph around a batch or a job.

    No index leads from a batch to the batches that wait for it. So the batches that wait now are
    read first, and then other batches, in all at most `READ_BATCHES`.

    Raises:
        JobNotFoundError, UnknownBatchError: the batch or the job does not exist.
        UnreadableJobError: the record of the batch is invalid.
    """
    before = tree(queue, name)
    batch = queue.layout.find(name).batch if is_job(name) else None
    records, waiting, unread = _records(queue)
    followers: dict[str, list[BatchRecord]] = defaultdict(list)
    for record in records:
        for one in dict.fromkeys(record.dependencies.after if record.dependencies else ()):
            followers[one].append(record)
    left, seen = [MOST_NODES], {name}

    def follow(node: Follower, names: Sequence[str], depth: int) -> None:
        found = {one.name: one for before in names for one in followers[before]}
        for number, record in enumerate(found.values()):
            if left[0] <= 0 or depth == DEPTH:
                node.left_out = len(found) - number
                return
            left[0] -= 1
            when = "" if record.dependencies is None else str(record.dependencies)
            child = Follower(record.name, when, record.name in waiting)
            node.followers.append(child)
            if record.name not in seen:
                seen.add(record.name)
                follow(child, [record.name], depth + 1)

    after = Follower(name)
    follow(after, [name] if batch is None else [name, batch], 0)
    return JobGraph(before, after, batch, unread)


def _records(queue: JobQueue) -> tuple[list[BatchRecord], set[str], int]:
    """Return records of batches, the names of those that wait, and how many were not read."""
    layout = queue.layout
    waiting = _children(queue, CHAINS)
    names = sorted(waiting)[:READ_BATCHES]
    total = layout.znodes.count_children(layout.znodes.path(BATCHES))
    if total <= READ_BATCHES:
        others = [name for name in _children(queue, BATCHES) if name not in waiting]
        names += others[: READ_BATCHES - len(names)]
    found = []
    znodes = layout.znodes.get_all([batch_path(layout, name) for name in names])
    for name, znode in zip(names, znodes, strict=True):
        if znode is not None:
            try:
                found.append(BatchRecord.decode(name, znode.data))
            except UnreadableJobError:
                continue
    return found, waiting, max(0, total - len(names))


def _children(queue: JobQueue, part: str) -> set[str]:
    path = queue.layout.znodes.path(part)
    if queue.layout.znodes.count_children(path) > _LISTED_MOST:
        return set()
    try:
        return set(queue.layout.znodes.children(path))
    except MissingError:
        return set()
