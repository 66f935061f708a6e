"""Reads a subtree with data and ACLs, and writes one, to copy, move, export and import subtrees.

``walk.walk`` reads the subtree, so the result is not a snapshot. The znodes are written in multis,
parents before children, with a bounded number of multis in progress. Each multi is atomic. The
first refused multi ends the writing. Imports ``model`` and ``client``.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from kazoo.exceptions import NoNodeError, ZookeeperError
from kazoo.protocol.serialization import SetData

from zoolet.client.kazoo import call, create_request, full_path, multi_async, multi_read
from zoolet.console.texts import counted
from zoolet.exports.lines import ExportedZnode
from zoolet.model import paths
from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.model.codes import CreateMode
from zoolet.model.owner_kinds import OwnerKind, ttl_of
from zoolet.model.stat import Stat
from zoolet.process.interrupts import held_back
from zoolet.shell.errors import CommandError, describe
from zoolet.shell.subtrees.multis import MULTIS_IN_FLIGHT, first_error, in_batches
from zoolet.shell.subtrees.walk import Visited, walk

_READ_AT_ONCE = 256
_WRITTEN_AT_ONCE = 500
_HIDDEN_DIGEST = ":x"
"""The end of a digest identity in the server's reply to a client without ADMIN permission."""


class Written(NamedTuple):
    """The result of writing a subtree.

    Attributes:
        created: the number of created znodes.
        replaced: the number of existing znodes whose data and ACL were overwritten.
        left_out: the number of ephemerals that were not written.
    """

    created: int
    replaced: int
    left_out: int


def read_znodes(client: Any, root: str, *, with_acl: bool) -> Iterator[ExportedZnode]:
    """Yield a subtree's znodes, each before its children; without ``with_acl``, with open ACLs.

    ZooKeeper's own znodes are left out if ``root`` is the server's root. Raises CommandError if a
    znode cannot be read.
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
    """Return whether a path is ``/zookeeper`` or below it."""
    return path == paths.SYSTEM or path.startswith(f"{paths.SYSTEM}/")


def _acls(client: Any, found: list[str], *, with_acl: bool) -> Iterator[AclList | None]:
    """Yield the ACLs of znodes; None for a znode that no longer exists."""
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
                    f"{path}: the server shows the complete ACL only to users with ADMIN (a)"
                    " permission: log in as such a user with addauth, or ignore ACLs with -A"
                )
        yield acl


def _as_ours(acl: Any) -> AclList:
    """Return kazoo's ACL as an AclList of ``model``."""
    return tuple(ACL(entry.perms, Id(entry.id.scheme or "", entry.id.id or "")) for entry in acl)


def _exported(visited: Visited, acl: AclList) -> ExportedZnode:
    stat: Any = visited.stat
    # cversion = 2 * (number of children ever created) - (number of children now)
    created = (stat.cversion + stat.numChildren) // 2
    return ExportedZnode(visited.path, visited.data, acl, Stat(*stat), created)


def moved(znode: ExportedZnode, source: str, target: str) -> ExportedZnode:
    """Return a znode of the subtree ``source`` with its path in the subtree ``target``."""
    below = znode.path if source == paths.ROOT else znode.path[len(source) :]
    below = "" if below == paths.ROOT else below
    return znode._replace(path=(("" if target == paths.ROOT else target) + below) or paths.ROOT)


def is_ephemeral(znode: ExportedZnode) -> bool:
    """Return whether a znode is ephemeral; a copy of it cannot belong to the same session."""
    return OwnerKind.of(znode.stat.ephemeral_owner) is OwnerKind.SESSION


def operation_for(client: Any, znode: ExportedZnode) -> Any:
    """Return the request that creates a copy of a znode; the copy of an ephemeral is persistent."""
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
    """Return the approximate number of bytes of a znode in a multi."""
    acl_bytes = sum(len(entry.id.scheme) + len(entry.id.id) + 12 for entry in znode.acl)
    return len(znode.path.encode()) + len(znode.data or b"") + acl_bytes


class Writer:
    """Writes znodes to a server.

    With ``replaces``, the writer overwrites the data of existing znodes, and with ``with_acl`` also
    their ACLs. Without ``replaces``, the first existing znode ends the writing. With
    ``keeps_ephemerals``, ephemerals become persistent znodes; otherwise they are left out.
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
        """Write the znodes, which must be in an order with parents before children.

        Raises CommandError with the number of written znodes in its message, also after Ctrl-C.
        Before it raises the error, it waits for the multis in progress. A second Ctrl-C ends this
        wait and raises KeyboardInterrupt.
        """
        sent: deque[tuple[list[ExportedZnode], set[str], Any]] = deque()
        try:
            for batch in in_batches(self._wanted(znodes), _WRITTEN_AT_ONCE, size_of):
                present = self._present(batch) if self._replaces else set()
                with held_back():
                    sent.append((batch, present, self._send(batch, present)))
                # The first batch contains the root: no other batch may be sent before the server
                # has accepted the first.
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
        """Send a batch; return kazoo's result. The paths in ``present`` exist already.

        A batch of one znode is not sent as a multi, whose additional bytes could exceed the
        server's limit.
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
        """Wait for the next reply; a Ctrl-C takes effect only after the reply is counted."""
        with held_back():
            self._settle(*sent.popleft())

    def _settle(self, batch: list[ExportedZnode], present: set[str], result: Any) -> None:
        """Wait for a batch's reply; then set the ACLs of the znodes that existed already."""
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
        """Set ACLs one by one, because a multi cannot contain setACL."""
        sent = [
            (znode.path, self._client.set_acls_async(znode.path, znode.acl)) for znode in znodes
        ]
        for path, result in sent:
            try:
                result.get()
            except ZookeeperError as error:
                raise CommandError(f"{describe(error, path)} (its ACL)") from error

    def _settle_rest(self, sent: deque[Any]) -> None:
        """After an error, count the multis in progress: the server may have executed them."""
        while sent:
            try:
                self._settle_next(sent)
            except (CommandError, ZookeeperError):
                continue
