"""What a request is prepared against: the tree, and the effects of earlier parts of a multi."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.big_endian.buffers import read_i32_be, read_i64_be
from zoolet.model import paths
from zoolet.model.acl import AclList
from zoolet.model.codes import CreateMode, ErrorCode
from zoolet.model.errors import RequestError
from zoolet.state_machine.acl_table import OPEN, StoredAcl
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.quotas import Quotas
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import AVERSION, OWNER, VERSION, data_length

_LEAST_ENTRY_BYTES: Final = 12
"""Least size of an ACL entry in a txn: permissions, and the lengths of scheme and id."""

_BYTES_BESIDE_A_PATH: Final = 4
_BYTES_BESIDE_PATHS: Final = 36
"""The size of the header and of the number of paths, in a txn that closes a session."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Requester:
    """The sender of a request: its session, and the identities that its connection has proven."""

    __slots__ = ("identities", "session_id")

    def __init__(self, session_id: int, identities: Identities) -> None:
        self.session_id = session_id
        self.identities = identities


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class ZnodeState:
    """The attributes of a znode that the checks need."""

    __slots__ = (
        "acl",
        "aversion",
        "created",
        "is_ephemeral",
        "num_children",
        "size_bytes",
        "version",
    )

    def __init__(
        self,
        acl: StoredAcl,
        version: int,
        aversion: int,
        created: int,
        num_children: int,
        is_ephemeral: bool,
        size_bytes: int,
    ) -> None:
        self.acl = acl
        self.version = version
        self.aversion = aversion
        self.created = created
        self.num_children = num_children
        self.is_ephemeral = is_ephemeral
        self.size_bytes = size_bytes


_NOT_NOTED: Final = ZnodeState(OPEN, 0, 0, 0, 0, False, 0)
"""Represents a path that was not looked up yet; None represents a missing znode."""


@final
class Mode:
    """The properties of a CreateMode, computed once at import and not for each request."""

    __slots__ = ("has_ttl", "is_ephemeral", "is_sequential")

    def __init__(self, mode: CreateMode) -> None:
        self.is_ephemeral: bool = mode.is_ephemeral
        self.is_sequential: bool = mode.is_sequential
        self.has_ttl: bool = mode.has_ttl


MODES: Final = {mode.value: Mode(mode) for mode in CreateMode}


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class MadeZnode:
    """The values of a new znode: its path, its ACL, and its parent's number of created children."""

    __slots__ = ("acl", "created", "path")

    def __init__(self, path: str, acl: AclList, created: int) -> None:
        self.path = path
        self.acl = acl
        self.created = created


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class View:
    """The znodes as they will be after the parts of a multi that are prepared so far.

    In a multi, the view stores the state of each znode that a part looks up. The part changes this
    state, so that later parts see its effects. For any other request, nothing is stored.

    Attributes:
        warning: a warning for the operator; "" if there is none.
    """

    def __init__(self, tree: Tree, quotas: Quotas) -> None:
        """Create a view of a tree; ``begin`` must be called before each request."""
        self.rules = Rules()
        self.most_path_length = self.rules.most_path_length  # a native number, for each create
        self.warning = ""
        self._in_multi = False
        self._new_ephemerals = 0
        self._new_ephemeral_bytes = 0
        self._new_acl_bytes = 0
        self._quotas = quotas
        self._tree = tree
        self._noted: dict[str, ZnodeState | None] = {}

    def begin(self, rules: Rules) -> None:
        """Start a new request with the current state; for a multi, call ``begin_parts`` next."""
        if rules is not self.rules:
            self.rules = rules
            self.most_path_length = rules.most_path_length
        self.warning = ""
        self._in_multi = False
        self._new_ephemerals = 0
        self._new_ephemeral_bytes = 0
        self._new_acl_bytes = 0
        if self._noted:
            self._noted = {}

    def begin_parts(self) -> None:
        """Start a multi: store the effects of each part for the later parts."""
        self._in_multi = True

    def find(self, path: str) -> ZnodeState | None:
        """Return the znode's state; None if the znode does not exist or will be deleted."""
        if not self._in_multi:
            return self._look_up(path)
        state = self._noted.get(path, _NOT_NOTED)
        if state is _NOT_NOTED:
            state = self._noted[path] = self._look_up(path)
        return state

    def _look_up(self, path: str) -> ZnodeState | None:
        tree = self._tree
        record = tree.records.get(path)
        if record is None:
            return None
        size = len(record)
        directory = tree.directories.get(path)
        return ZnodeState(
            tree.stored_acl_of(path),
            read_i32_be(record, size - VERSION),
            read_i32_be(record, size - AVERSION),
            0 if directory is None else directory.created,
            0 if directory is None else directory.num_children,
            read_i64_be(record, size - OWNER) != 0,
            data_length(record),
        )

    def get(self, path: str) -> ZnodeState:
        """Return the znode's state; raises RequestError (NO_NODE)."""
        state = self.find(path)
        if state is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        return state

    def parent(self, path: str, end: i64) -> ZnodeState:
        """Return the state of the znode above ``path``; raises RequestError (NO_NODE).

        The last ``/`` of the path is at ``end``.
        """
        return self.get(self._tree.parents.at(path, end))

    def exists(self, path: str) -> bool:
        """Return whether the znode will exist."""
        if self._in_multi:
            state = self._noted.get(path, _NOT_NOTED)
            if state is not _NOT_NOTED:
                return state is not None
        return path in self._tree.records

    def count_ephemeral(self, session_id: int, path: str) -> None:
        """Count a new ephemeral of a session; raises RequestError (QUOTA_EXCEEDED) above a limit.

        The first limit is for the number of ephemerals. The second is for the size of the txn that
        will close the session, which lists all its ephemerals. Ephemerals that an earlier part of
        the multi deletes still count.
        """
        tree = self._tree
        self._new_ephemerals += 1
        self._new_ephemeral_bytes += paths.size_bytes(path)
        owned = len(tree.ephemerals.get(session_id, ())) + self._new_ephemerals
        path_bytes = tree.ephemeral_bytes.get(session_id, 0) + self._new_ephemeral_bytes
        close_bytes = _BYTES_BESIDE_PATHS + path_bytes + owned * _BYTES_BESIDE_A_PATH
        if owned > self.rules.most_ephemerals or close_bytes > self.rules.max_txn_bytes:
            raise RequestError(ErrorCode.QUOTA_EXCEEDED, path)

    def count_acl(self, acl: AclList, path: str) -> None:
        """Count the ACL of one more znode; raises RequestError (MARSHALLING_ERROR).

        The error is raised if the ACLs of a multi are larger than the maximum txn size. One entry
        for ``auth`` may be replaced by many identities, so without this check a small request could
        fill the memory before the size of its txn is known.
        """
        if not self._in_multi:
            return
        for _, (scheme, name) in acl:
            self._new_acl_bytes += _LEAST_ENTRY_BYTES + len(scheme) + len(name)
        if self._new_acl_bytes > self.rules.max_txn_bytes:
            raise RequestError(ErrorCode.MARSHALLING_ERROR, path)

    def put(self, path: str, state: ZnodeState | None) -> None:
        """Store the state of a znode that will be created; None for one that will be deleted."""
        if self._in_multi:
            self._noted[path] = state

    def check_quota(self, path: str, bytes_more: int, count_more: int) -> None:
        """Check the quota of a write; raises RequestError (QUOTA_EXCEEDED), or sets ``warning``.

        As in Apache ZooKeeper, the effects of earlier parts of a multi do not count yet.
        """
        if not self._quotas.limited.size:
            return
        enforced = self.rules.enforces_quota
        warning = self._quotas.check(path, bytes_more, count_more, enforced=enforced)
        if warning is not None:
            self.warning = warning
