"""Writes a plan to a running server, in multis with a bounded number in progress.

Each change has the condition that the comparison saw. If another client has changed a znode in
between, the server refuses the whole multi. Then its changes are sent one by one, so only the
changed znode is left out. The order: counters of existing parents, creations with the counters of
new parents, data, deletions, counters, and at last the ACLs, which may take permissions away.
"""

from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from zoolet.archive.live.comparing import znode_of
from zoolet.archive.live.counters import add_steps, raise_counter, step_bytes, steps_in_multi
from zoolet.archive.live.plan import CounterRaise, Plan, Step, StepKind
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.asyncio_client.waiting import forget
from zoolet.client.errors import (
    BadArgumentsError,
    BadVersionError,
    InvalidAclError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    QuotaExceededError,
    UnimplementedError,
    ZooKeeperError,
)
from zoolet.client.protocol.batches import Multi
from zoolet.client.transfers import (
    MULTI_BYTES,
    MULTIS_IN_PROGRESS,
    OPERATION_BYTES,
    add_creation,
    mode_of,
    size_of,
)
from zoolet.state_machine.tree import Tree

_REFUSALS: Final = (
    BadArgumentsError,
    BadVersionError,
    InvalidAclError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    QuotaExceededError,
    UnimplementedError,
)
"""The errors that concern one znode; any other error ends the restore."""

_RAISE: Final = "raise the counter"
_OPERATIONS_IN_MULTI: Final = 500
_ACLS_IN_PROGRESS: Final = 256


class Conflict(NamedTuple):
    """A change that the server refused, and the reason."""

    what: str
    path: str
    reason: str


@dataclass(slots=True)
class Outcome:
    """What a restore has written.

    Attributes:
        written: the number of changes of znodes.
        counters: the number of counters that were raised.
        conflicts: the changes that were not made.
    """

    written: int = 0
    counters: int = 0
    conflicts: list[Conflict] = field(default_factory=list)


class _Steps(NamedTuple):
    """A part of the raise of a new parent's counter: ``steps`` children, created and deleted."""

    raised: CounterRaise
    steps: int
    is_last: bool


_Item = Step | _Steps
"""What is written by one multi, or together with others by one multi."""


async def restore(
    client: AsyncClient,
    tree: Tree,
    plan: Plan,
    progress: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Write a plan; changes that the server refuses are listed in the outcome.

    Args:
        client: a client without a chroot.
        tree: the state from which the plan was made.
        plan: the plan of ``comparing.compare``.
        progress: is called with what is done until now.

    Raises:
        ZooKeeperError: the connection or the session was lost, and a part of the plan is written.
    """
    writer = _Writer(client, tree, progress)
    try:
        await writer.write_plan(plan)
    finally:
        writer.forget_rest()
    return writer.outcome


def _creations(creations: list[Step], first: dict[str, CounterRaise]) -> Iterator[_Item]:
    """Yield the creations; after a parent, the steps of its counter."""
    for step in creations:
        yield step
        raised = first.get(step.path)
        left = 0 if raised is None else raised.steps
        while raised is not None and left:
            count = steps_in_multi(raised.path, left)
            left -= count
            yield _Steps(raised, count, is_last=not left)


class _Writer:
    """Writes the steps of a plan.

    Attributes:
        outcome: what is written until now.
    """

    def __init__(
        self, client: AsyncClient, tree: Tree, progress: Callable[[Outcome], None]
    ) -> None:
        self.outcome = Outcome()
        self._client = client
        self._tree = tree
        self._progress = progress
        self._sent: deque[tuple[list[_Item], Future[Any]]] = deque()

    async def write_plan(self, plan: Plan) -> None:
        """Write all changes, in the order that the docstring of this module gives."""
        new = {step.path for step in plan.creations}
        first = {raised.path: raised for raised in plan.counters if raised.is_first}
        await self._raise_all(raised for path, raised in first.items() if path not in new)
        await self._write(_creations(plan.creations, first))
        await self._write(plan.data)
        await self._write(plan.deletions)
        await self._raise_all(raised for raised in plan.counters if not raised.is_first)
        await self._set_acls(plan.acls)

    def forget_rest(self) -> None:
        """Do not wait for the replies that have not come."""
        for _, future in self._sent:
            forget(future)

    async def _write(self, items: Iterable[_Item]) -> None:
        """Write items in this order, and return when the server has replied to all of them."""
        batch: list[_Item] = []
        operations = size_bytes = 0
        for item in items:
            item_operations, item_bytes = self._size_of(item)
            operations += item_operations
            size_bytes += item_bytes
            if batch and (operations > _OPERATIONS_IN_MULTI or size_bytes > MULTI_BYTES):
                await self._send(batch)
                batch, operations, size_bytes = [], item_operations, item_bytes
            batch.append(item)
        if batch:
            await self._send(batch)
        while self._sent:
            await self._settle_next()

    async def _raise_all(self, counters: Iterable[CounterRaise]) -> None:
        """Raise the counters of existing parents."""
        for raised in counters:
            path, wanted = raised.path, raised.wanted
            try:
                reached = await raise_counter(self._client, path, wanted, raised.steps)
            except _REFUSALS as error:
                self._refuse(_RAISE, path, error)
                continue
            if reached >= wanted:
                self.outcome.counters += 1
                self._progress(self.outcome)
            else:
                reason = f"it is {reached} now, so it needs more steps than planned"
                self.outcome.conflicts.append(Conflict(_RAISE, path, reason))

    async def _set_acls(self, steps: list[Step]) -> None:
        """Set ACLs one by one, because a multi cannot contain setACL."""
        for begin in range(0, len(steps), _ACLS_IN_PROGRESS):
            await self._note_all(
                [(step, self._set_acl(step)) for step in steps[begin : begin + _ACLS_IN_PROGRESS]]
            )

    def _set_acl(self, step: Step) -> Future[Any]:
        acl = self._tree.acl_of(step.path)
        return self._client.set_acl(step.path, acl, version=step.version)

    def _size_of(self, item: _Item) -> tuple[int, int]:
        """Return the number of operations of an item, and about how many bytes they have."""
        if isinstance(item, _Steps):
            return 2 * item.steps, item.steps * step_bytes(item.raised.path)
        if item.kind is StepKind.DELETE:
            return 1, len(item.path.encode()) + OPERATION_BYTES
        return 1, size_of(znode_of(self._tree, item.path)) + OPERATION_BYTES

    async def _send(self, batch: list[_Item]) -> None:
        self._sent.append((batch, self._request(batch)))
        if len(self._sent) >= MULTIS_IN_PROGRESS:
            await self._settle_next()

    def _request(self, batch: list[_Item]) -> Future[Any]:
        """Send items together.

        A single change is not sent as a multi, whose additional bytes could exceed the server's
        limit.
        """
        if len(batch) == 1 and isinstance(batch[0], Step):
            return self._single(batch[0])
        multi = Multi()
        for item in batch:
            if isinstance(item, _Steps):
                add_steps(multi, item.raised.path, item.steps)
            elif item.kind is StepKind.CREATE:
                add_creation(multi, znode_of(self._tree, item.path))
            elif item.kind is StepKind.SET_DATA:
                multi.set(item.path, znode_of(self._tree, item.path).data, version=item.version)
            else:
                multi.delete(item.path, version=item.version)
        return self._client.multi(multi)

    def _single(self, step: Step) -> Future[Any]:
        if step.kind is StepKind.DELETE:
            return self._client.delete(step.path, version=step.version)
        znode = znode_of(self._tree, step.path)
        if step.kind is StepKind.SET_DATA:
            return self._client.set(step.path, znode.data, version=step.version)
        mode, ttl_ms = mode_of(znode)
        return self._client.create(step.path, znode.data, mode=mode, acl=znode.acl, ttl_ms=ttl_ms)

    async def _settle_next(self) -> None:
        """Wait for the next reply; if the server refused the multi, send its items singly."""
        batch, future = self._sent.popleft()
        if len(batch) == 1:
            await self._note(batch[0], future)
            return
        try:
            await future
        except _REFUSALS:
            await self._note_all([(item, self._request([item])) for item in batch])
        else:
            for item in batch:
                self._count(item)
            self._progress(self.outcome)

    async def _note_all(self, sent: list[tuple[_Item, Future[Any]]]) -> None:
        """Wait for the replies to items that were sent one by one."""
        try:
            for item, future in sent:
                await self._note(item, future)
        finally:
            for _, future in sent:
                forget(future)

    async def _note(self, item: _Item, future: Future[Any]) -> None:
        """Wait for the reply to one item, and count the item or add a conflict."""
        try:
            await future
        except NoNodeError as error:
            if isinstance(item, Step) and item.kind is StepKind.DELETE:
                self._count(item)  # another client has deleted it
            else:
                self._refuse_item(item, error)
        except _REFUSALS as error:
            self._refuse_item(item, error)
        else:
            self._count(item)
        self._progress(self.outcome)

    def _count(self, item: _Item) -> None:
        if isinstance(item, Step):
            self.outcome.written += 1
        elif item.is_last:
            self.outcome.counters += 1

    def _refuse_item(self, item: _Item, error: ZooKeeperError) -> None:
        if isinstance(item, Step):
            self._refuse(item.kind.value, item.path, error)
        else:
            self._refuse(_RAISE, item.raised.path, error)

    def _refuse(self, what: str, path: str, error: ZooKeeperError) -> None:
        reason = error.explanation
        if isinstance(error, NoAuthError):
            of_parent = {StepKind.CREATE.value, StepKind.DELETE.value}
            owner = "its parent" if what in of_parent else "the znode"
            reason = f"the ACL of {owner} does not permit it: log in with --auth"
        if isinstance(error, NoNodeError) and what == StepKind.CREATE.value:
            reason = "its parent does not exist"
        self.outcome.conflicts.append(Conflict(what, path, reason))
