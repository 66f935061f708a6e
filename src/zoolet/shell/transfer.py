"""Znodes on their way from one place to another: reading a subtree whole, and writing one.

A subtree is read as ``walk.walk`` reads it, and is no snapshot. It is written in multis, parents
before children, a bounded number of them under way at once: each multi is done or not, and the
first that is refused ends the writing. Imports ``model`` and ``client``.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from kazoo.exceptions import NoNodeError, ZookeeperError
from kazoo.protocol.serialization import SetData

from zoolet.client import call, create_request, full_path, multi_async, multi_read
from zoolet.model import paths
from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.model.codes import CreateMode
from zoolet.model.exports import ExportedZnode
from zoolet.model.owner_kinds import OwnerKind, ttl_of
from zoolet.model.stat import Stat
from zoolet.shell.errors import CommandError, describe
from zoolet.shell.formatting import counted
from zoolet.shell.interrupts import held_back
from zoolet.shell.multis import MULTIS_IN_FLIGHT, first_error, in_batches
from zoolet.shell.walk import Visited, walk

_READ_AT_ONCE = 256
_WRITTEN_AT_ONCE = 500
_HIDDEN_DIGEST = ":x"
"""How the server ends a digest identity that it shows to someone without ADMIN."""


class Written(NamedTuple):
    """What came of writing a subtree.

    Attributes:
        created: how many znodes were created.
        replaced: how many there were already, and got the data and the ACL.
        left_out: how many ephemerals were not written.
    """

    created: int
    replaced: int
    left_out: int


def read_znodes(client: Any, root: str, *, with_acl: bool) -> Iterator[ExportedZnode]:
    """Yield a subtree's znodes whole, each before its children; without their ACLs open ones.

    ZooKeeper's own znodes are passed over where ``root`` is above them. Raises CommandError where
    one cannot be read.
    """
    visits = walk(client, root, with_data=True)
    if root == paths.ROOT and not client.chroot:
        visits = (visited for visited in visits if not is_system(visited.path))
    for together in in_batches(visits, _READ_AT_ONCE, lambda visited: len(visited.data or b"")):
        for visited in together:
            if visited.error is not None:
                raise CommandError(describe(visited.error, visited.path))
        acls = _acls(client, [visited.path for visited in together], with_acl=with_acl)
        for visited, acl in zip(together, acls, strict=True):
            if acl is not None:
                yield _exported(visited, acl)


def is_system(path: str) -> bool:
    """Return whether a znode is ZooKeeper's own."""
    return path == paths.SYSTEM or path.startswith(f"{paths.SYSTEM}/")


def _acls(client: Any, found: list[str], *, with_acl: bool) -> Iterator[AclList | None]:
    """Yield the ACLs of znodes, None for those that are gone."""
    sent = [client.get_acls_async(path) for path in found] if with_acl else [None] * len(found)
    for path, result in zip(found, sent, strict=True):
        try:
            acl = OPEN_ACL if result is None else _as_ours(result.get()[0])
        except NoNodeError:
            yield None
            continue
        except ZookeeperError as error:
            raise CommandError(describe(error, path)) from error
        for entry in acl:
            if entry.id.scheme == "digest" and entry.id.id.endswith(_HIDDEN_DIGEST):
                raise CommandError(
                    f"{path}: its ACL is shown whole only to those with ADMIN (a) in it: prove to"
                    " be one of them with addauth, or leave ACLs out with -A"
                )
        yield acl


def _as_ours(acl: Any) -> AclList:
    """Return kazoo's ACL as the model has it."""
    return tuple(ACL(entry.perms, Id(entry.id.scheme or "", entry.id.id or "")) for entry in acl)


def _exported(visited: Visited, acl: AclList) -> ExportedZnode:
    stat: Any = visited.stat
    # A Stat's cversion is twice the number of creations less the children that are there.
    created = (stat.cversion + stat.numChildren) // 2
    return ExportedZnode(visited.path, visited.data, acl, Stat(*stat), created)


def moved(znode: ExportedZnode, source: str, target: str) -> ExportedZnode:
    """Return a znode of the subtree ``source`` as it stands in the subtree ``target``."""
    below = znode.path if source == paths.ROOT else znode.path[len(source) :]
    below = "" if below == paths.ROOT else below
    return znode._replace(path=(("" if target == paths.ROOT else target) + below) or paths.ROOT)


def is_ephemeral(znode: ExportedZnode) -> bool:
    """Return whether a znode goes with a session, to which no copy of it can belong."""
    return OwnerKind.of(znode.stat.ephemeral_owner) is OwnerKind.SESSION


def operation_for(client: Any, znode: ExportedZnode) -> Any:
    """Return the request that creates a znode like this one; an ephemeral's copy stays."""
    owner = znode.stat.ephemeral_owner
    kind = OwnerKind.of(owner)
    acl = znode.acl
    if kind is OwnerKind.CONTAINER:
        return create_request(client, znode.path, znode.data, CreateMode.CONTAINER, acl)
    if kind is OwnerKind.TTL:
        mode = CreateMode.PERSISTENT_WITH_TTL
        return create_request(client, znode.path, znode.data, mode, acl, ttl_of(owner))
    return create_request(client, znode.path, znode.data, CreateMode.PERSISTENT, acl)


def size_of(znode: ExportedZnode) -> int:
    """Return about how many bytes a znode takes in a multi."""
    acl_bytes = sum(len(entry.id.scheme) + len(entry.id.id) + 12 for entry in znode.acl)
    return len(znode.path.encode()) + len(znode.data or b"") + acl_bytes


class Writer:
    """Writes znodes to a server.

    With ``replaces`` it gives those that are there already the data, and with ``with_acl`` the ACL;
    without, the first of them ends the writing. With ``keeps_ephemerals`` these become plain
    znodes; without, they are left out.
    """

    def __init__(
        self,
        client: Any,
        *,
        replaces: bool,
        with_acl: bool,
        keeps_ephemerals: bool,
        advance: Callable[[int], None],
    ) -> None:
        self._client = client
        self._replaces = replaces
        self._with_acl = with_acl
        self._keeps_ephemerals = keeps_ephemerals
        self._advance = advance
        self._created = self._replaced = self._left_out = 0
        self._has_begun = False

    def write(self, znodes: Iterable[ExportedZnode]) -> Written:
        """Write them, parents before children; raises CommandError, saying what was written.

        Ctrl-C ends it too, when what is under way is done; a second Ctrl-C does not wait for that,
        and is KeyboardInterrupt.
        """
        sent: deque[tuple[list[ExportedZnode], set[str], Any]] = deque()
        try:
            for batch in in_batches(self._wanted(znodes), _WRITTEN_AT_ONCE, size_of):
                present = self._present(batch) if self._replaces else set()
                with held_back():
                    sent.append((batch, present, self._send(batch, present)))
                # The first batch has the root: where that is refused, nothing may go below it.
                if len(sent) >= (MULTIS_IN_FLIGHT if self._has_begun else 1):
                    self._settle_next(sent)
            while sent:
                self._settle_next(sent)
        except (CommandError, ZookeeperError, KeyboardInterrupt) as error:
            self._settle_rest(sent)
            done = self._created + self._replaced
            left = f"{counted(done, 'znode')} had been written" if done else "nothing was written"
            raise CommandError(f"{describe(error, '')}; {left}") from error
        return Written(self._created, self._replaced, self._left_out)

    def _wanted(self, znodes: Iterable[ExportedZnode]) -> Iterator[ExportedZnode]:
        for znode in znodes:
            if is_ephemeral(znode) and not self._keeps_ephemerals:
                self._left_out += 1
            else:
                yield znode

    def _send(self, batch: list[ExportedZnode], present: set[str]) -> Any:
        """Send a batch of which these paths are there already; returns the answer to come.

        A znode that fills a request is sent by itself: a multi would be the few bytes too long.
        """
        operations = [
            SetData(full_path(self._client, znode.path), znode.data, -1)
            if znode.path in present
            else operation_for(self._client, znode)
            for znode in batch
        ]
        if len(operations) == 1:
            return call(self._client, operations[0])
        return multi_async(self._client, operations)

    def _present(self, batch: list[ExportedZnode]) -> set[str]:
        found = multi_read(self._client, (), [znode.path for znode in batch])
        pairs = zip(batch, found, strict=True)
        return {znode.path for znode, names in pairs if not isinstance(names, NoNodeError)}

    def _settle_next(self, sent: deque[tuple[list[ExportedZnode], set[str], Any]]) -> None:
        """Wait for the answer that comes next, and count it before a Ctrl-C ends the writing."""
        with held_back():
            self._settle(*sent.popleft())

    def _settle(self, batch: list[ExportedZnode], present: set[str], result: Any) -> None:
        """Wait for a batch's answer; then give those that were there already their ACLs."""
        if len(batch) == 1:
            try:
                result.get()
            except ZookeeperError as error:
                raise CommandError(describe(error, batch[0].path)) from error
        else:
            answers = result.get()
            refusal = first_error(answers)
            if refusal is not None:
                place = batch[answers.index(refusal)].path
                raise CommandError(describe(refusal, place)) from refusal
        self._has_begun = True
        self._replaced += len(present)
        self._created += len(batch) - len(present)
        self._advance(len(batch))
        if self._with_acl:
            self._set_acls([znode for znode in batch if znode.path in present])

    def _set_acls(self, znodes: list[ExportedZnode]) -> None:
        """Set ACLs, which no multi may hold."""
        sent = [
            (znode.path, self._client.set_acls_async(znode.path, znode.acl)) for znode in znodes
        ]
        for path, result in sent:
            try:
                result.get()
            except ZookeeperError as error:
                raise CommandError(f"{describe(error, path)} (its ACL)") from error

    def _settle_rest(self, sent: deque[Any]) -> None:
        """Count what was under way when one was refused, and may still have been done."""
        while sent:
            try:
                self._settle_next(sent)
            except (CommandError, ZookeeperError):
                continue
