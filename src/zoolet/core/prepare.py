"""Prepare: decide what a request changes, or why it is refused. Nothing changes here.

One function per kind of request, found by the request's type in ``prepare``. The order of the
checks in each is Apache ZooKeeper's (``PrepRequestProcessor.pRequest2Txn``), since it decides which
error a client sees where several apply. The parts of a multi see what those before them will do
through a View, which keeps their effects apart from the tree until the whole is applied.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.core import access
from zoolet.core.acl_table import OPEN, StoredAcl
from zoolet.core.identities import Identities
from zoolet.core.quotas import Quotas
from zoolet.core.rules import Rules
from zoolet.core.tree import (
    AVERSION,
    OWNER,
    VERSION,
    Tree,
    data_length,
    wrap_int32,
)
from zoolet.model import paths
from zoolet.model.acl import NULL_TEXT, OPEN_ACL, AclList
from zoolet.model.big_endian import read_i32_be, read_i64_be
from zoolet.model.codes import CreateMode, ErrorCode, OpCode, Permission
from zoolet.model.errors import RequestError
from zoolet.model.owner_kinds import MAX_TTL_MS
from zoolet.model.requests import (
    Check,
    CloseSession,
    Create,
    CreateContainer,
    CreateSession,
    CreateTtl,
    Delete,
    DeleteContainer,
    Multi,
    PartRequest,
    SetAcl,
    SetData,
    WriteRequest,
)
from zoolet.model.txns import (
    CheckTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    TxnBody,
)

# Plain ints: arithmetic on the members of an enum costs more than the checks themselves.
_READ: Final = Permission.READ.value
_WRITE: Final = Permission.WRITE.value
_CREATE: Final = Permission.CREATE.value
_DELETE: Final = Permission.DELETE.value
_ADMIN: Final = Permission.ADMIN.value

_LEAST_ENTRY_BYTES: Final = 12
"""Of an ACL entry in a txn: permissions, and the lengths of scheme and id."""

_BYTES_BESIDE_A_PATH: Final = 4
_BYTES_BESIDE_PATHS: Final = 36
"""The header of a txn, and the number of paths in the txn that closes a session."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Requester:
    """Who asks: a session, and the identities that its connection has proven."""

    __slots__ = ("identities", "session_id")

    def __init__(self, session_id: int, identities: Identities) -> None:
        self.session_id = session_id
        self.identities = identities


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class ZnodeState:
    """What the checks need to know of a znode."""

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
"""Stands for a path that was not looked up yet; None for one that is missing."""


@final
class Mode:
    """What a CreateMode means, asked once and not at every request."""

    __slots__ = ("has_ttl", "is_ephemeral", "is_sequential")

    def __init__(self, mode: CreateMode) -> None:
        self.is_ephemeral: bool = mode.is_ephemeral
        self.is_sequential: bool = mode.is_sequential
        self.has_ttl: bool = mode.has_ttl


_MODES: Final = {mode.value: Mode(mode) for mode in CreateMode}


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class MadeZnode:
    """What is decided about a new znode: its path, its ACL, its parent's count after it."""

    __slots__ = ("acl", "created", "path")

    def __init__(self, path: str, acl: AclList, created: int) -> None:
        self.path = path
        self.acl = acl
        self.created = created


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class View:
    """The znodes as they will be after the parts of a multi that are prepared so far.

    Within a multi, what a part finds is noted, and it changes there what it will change: so the
    next part finds that. Outside, nothing comes after.

    Attributes:
        warning: what an operator should hear of; empty: nothing.
    """

    def __init__(self, tree: Tree, quotas: Quotas) -> None:
        """Look at a tree; each request begins again."""
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

    def begin(self, rules: Rules, *, in_multi: bool) -> None:
        """Begin with the znodes as they are."""
        if rules is not self.rules:
            self.rules = rules
            self.most_path_length = rules.most_path_length
        self.warning = ""
        self._in_multi = in_multi
        self._new_ephemerals = 0
        self._new_ephemeral_bytes = 0
        self._new_acl_bytes = 0
        if self._noted:
            self._noted = {}

    def find(self, path: str) -> ZnodeState | None:
        """Return the znode's state, None where it is missing or will be deleted."""
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
        """Say whether there will be such a znode."""
        if self._in_multi:
            state = self._noted.get(path, _NOT_NOTED)
            if state is not _NOT_NOTED:
                return state is not None
        return path in self._tree.records

    def count_ephemeral(self, session_id: int, path: str) -> None:
        """Count one more of a session; raises RequestError (QUOTA_EXCEEDED) above a limit.

        One limit is the number; the other is the size of the txn that will close the session and
        list all its ephemerals. What the multi deletes before still counts.
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
        """Count the list of one more znode; raises RequestError (MARSHALLING_ERROR).

        It does so if the lists of a multi alone are larger than a txn may be. One entry for
        ``auth`` stands for many identities, so without this a small request fills the memory before
        its txn has a size.
        """
        if not self._in_multi:
            return
        for _, (scheme, name) in acl:
            self._new_acl_bytes += _LEAST_ENTRY_BYTES + len(scheme) + len(name)
        if self._new_acl_bytes > self.rules.max_txn_bytes:
            raise RequestError(ErrorCode.MARSHALLING_ERROR, path)

    def put(self, path: str, state: ZnodeState | None) -> None:
        """Note a znode that comes, or goes (None)."""
        if self._in_multi:
            self._noted[path] = state

    def check_quota(self, path: str, bytes_more: int, count_more: int) -> None:
        """Raise RequestError (QUOTA_EXCEEDED), or note a warning, where a write takes too much.

        As in Apache ZooKeeper, what the multi has prepared so far does not count yet.
        """
        if not self._quotas.limited.size:
            return
        enforced = self.rules.enforces_quota
        warning = self._quotas.check(path, bytes_more, count_more, enforced=enforced)
        if warning is not None:
            self.warning = warning


def prepare(tree: Tree, view: View, asker: Requester, request: WriteRequest) -> TxnBody:
    """Return the change that ``request`` makes.

    A multi of which a part is refused becomes a MultiTxn that changes nothing and says so of each
    part. Raises RequestError where any other request is refused.
    """
    if isinstance(request, Multi):
        return _prepare_multi(view, asker, request)
    if isinstance(request, CreateSession):
        return CreateSessionTxn(request.timeout_ms)
    if isinstance(request, CloseSession):
        return _prepare_close_session(tree, asker)
    if isinstance(request, SetAcl):
        return _prepare_set_acl(view, asker, request)
    if isinstance(request, DeleteContainer):
        return _prepare_delete_container(view, request)
    return _prepare_part(view, asker, request)


def _prepare_part(view: View, asker: Requester, request: PartRequest) -> SubTxn:
    """Prepare a request that may also stand in a multi."""
    # Not a table: compiled, this calls each directly, and a multi prepares thousands in a turn.
    txn: SubTxn
    match request:
        case Create():
            txn = _prepare_create(view, asker, request)
        case SetData():
            txn = _prepare_set_data(view, asker, request)
        case Delete():
            txn = _prepare_delete(view, asker, request)
        case Check():
            txn = _prepare_check(view, asker, request)
        case CreateContainer():
            txn = _prepare_create_container(view, asker, request)
        case CreateTtl():
            txn = _prepare_create_ttl(view, asker, request)
    return txn


def _prepare_close_session(tree: Tree, asker: Requester) -> CloseSessionTxn:
    """List the ephemerals of the session, which end with it."""
    return CloseSessionTxn(tree.ephemerals_of(asker.session_id))


def _prepare_multi(view: View, asker: Requester, multi: Multi) -> MultiTxn:
    txns: list[tuple[int, SubTxn]] = []
    refused = False
    for op_code, request in multi.operations:
        if refused:
            txns.append((OpCode.ERROR, ErrorTxn(ErrorCode.RUNTIME_INCONSISTENCY)))
            continue
        try:
            txns.append((op_code, _prepare_part(view, asker, request)))
        except RequestError as error:
            if error.code is ErrorCode.MARSHALLING_ERROR:
                raise  # Apache ZooKeeper refuses all of it then, and names no part
            refused = True
            txns.append((OpCode.ERROR, ErrorTxn(error.code)))
    return MultiTxn(tuple(txns))


def _prepare_create(view: View, asker: Requester, request: Create) -> CreateTxn:
    mode = _mode_of(view, request.path, request.flags, ttl_ms=-1)
    made = _prepare_znode(view, asker, request.path, request.data, request.acl, mode)
    return CreateTxn(made.path, request.data, made.acl, mode.is_ephemeral, made.created)


def _prepare_create_container(
    view: View, asker: Requester, request: CreateContainer
) -> CreateContainerTxn:
    mode = _mode_of(view, request.path, request.flags, ttl_ms=-1)
    made = _prepare_znode(view, asker, request.path, request.data, request.acl, mode)
    return CreateContainerTxn(made.path, request.data, made.acl, made.created)


def _prepare_create_ttl(view: View, asker: Requester, request: CreateTtl) -> CreateTtlTxn:
    mode = _mode_of(view, request.path, request.flags, request.ttl_ms)
    if not mode.has_ttl:
        raise RequestError(ErrorCode.BAD_ARGUMENTS, request.path)
    made = _prepare_znode(view, asker, request.path, request.data, request.acl, mode)
    return CreateTtlTxn(made.path, request.data, made.acl, made.created, request.ttl_ms)


def _mode_of(view: View, path: str, flags: int, ttl_ms: int) -> Mode:
    """Return the mode that flags ask for; a TTL goes with the modes that have one, and only there.

    Raises RequestError: UNIMPLEMENTED where TTLs are switched off, BAD_ARGUMENTS.
    """
    mode = _MODES.get(flags)
    if mode is None:
        raise RequestError(ErrorCode.BAD_ARGUMENTS, path)
    if mode.has_ttl and not view.rules.allows_ttl:
        raise RequestError(ErrorCode.UNIMPLEMENTED, path)
    if not (0 < ttl_ms <= MAX_TTL_MS if mode.has_ttl else ttl_ms < 0):
        raise RequestError(ErrorCode.BAD_ARGUMENTS, path)
    return mode


def _prepare_znode(
    view: View, asker: Requester, path: str, data: bytes | None, wanted_acl: AclList, mode: Mode
) -> MadeZnode:
    end: i64 = path.rfind("/")
    if end < 0 or "\0" in path:
        raise RequestError(_code_of_no_path(path), path)
    acl = access.resolve(wanted_acl, asker.identities, path, view.rules)
    if acl is not OPEN_ACL:
        view.count_acl(acl, path)
    parent = view.parent(path, end)
    access.check(parent.acl, asker.identities, _CREATE, path)
    if mode.is_sequential:
        path = f"{path}{parent.created:010d}"
    _validate_below_existing(path, end)
    if len(path) > view.most_path_length:
        raise RequestError(ErrorCode.BAD_ARGUMENTS, path)
    if view.exists(path):
        raise RequestError(ErrorCode.NODE_EXISTS, path)
    if parent.is_ephemeral:
        raise RequestError(ErrorCode.NO_CHILDREN_FOR_EPHEMERALS, path)
    size_bytes = 0 if data is None else len(data)
    view.check_quota(path, size_bytes, 1)
    if mode.is_ephemeral:
        view.count_ephemeral(asker.session_id, path)
    parent.created = wrap_int32(parent.created + 1)
    parent.num_children += 1
    stored = OPEN if acl is OPEN_ACL else StoredAcl(acl)
    view.put(path, ZnodeState(stored, 0, 0, 0, 0, mode.is_ephemeral, size_bytes))
    return MadeZnode(path, acl, parent.created)


def _prepare_delete(view: View, asker: Requester, request: Delete) -> DeleteTxn:
    path = request.path
    end: i64 = path.rfind("/")
    if end < 0 or "\0" in path or path in paths.SYSTEM_PATHS:
        raise RequestError(_code_of_no_path(path), path)
    parent = view.parent(path, end)
    access.check(parent.acl, asker.identities, _DELETE, path)
    node = view.get(path)
    _next_version(node.version, request.version, path)
    if node.num_children:
        raise RequestError(ErrorCode.NOT_EMPTY, path)
    parent.num_children -= 1
    view.put(path, None)
    return DeleteTxn(path)


def _prepare_delete_container(view: View, request: DeleteContainer) -> DeleteTxn:
    """Let a container or TTL znode go, unless it was used meanwhile."""
    path = request.path
    node = view.get(path)
    if node.num_children:
        raise RequestError(ErrorCode.NOT_EMPTY, path)
    if node.is_ephemeral:
        raise RequestError(ErrorCode.BAD_VERSION, path)
    return DeleteTxn(path)


def _prepare_set_data(view: View, asker: Requester, request: SetData) -> SetDataTxn:
    path = request.path
    node = _existing(view, path)
    access.check(node.acl, asker.identities, _WRITE, path)
    size_bytes = 0 if request.data is None else len(request.data)
    view.check_quota(path, size_bytes - node.size_bytes, 0)
    node.version = _next_version(node.version, request.version, path)
    node.size_bytes = size_bytes
    return SetDataTxn(path, request.data, node.version)


def _prepare_set_acl(view: View, asker: Requester, request: SetAcl) -> SetAclTxn:
    path = request.path
    node = view.find(path)
    if node is None:
        _validate(path)
    acl = access.resolve(request.acl, asker.identities, path, view.rules)
    if node is None:
        raise RequestError(ErrorCode.NO_NODE, path)
    access.check(node.acl, asker.identities, _ADMIN, path)
    return SetAclTxn(path, acl, _next_version(node.aversion, request.version, path))


def _prepare_check(view: View, asker: Requester, request: Check) -> CheckTxn:
    path = request.path
    node = _existing(view, path)
    access.check(node.acl, asker.identities, _READ, path)
    return CheckTxn(path, _next_version(node.version, request.version, path))


def _existing(view: View, path: str) -> ZnodeState:
    """Return a znode's state; raises RequestError: BAD_ARGUMENTS, NO_NODE.

    A znode that is there has a valid path, so only one that is missing need be looked at.
    """
    node = view.find(path)
    if node is None:
        _validate(path)
        raise RequestError(ErrorCode.NO_NODE, path)
    return node


def _code_of_no_path(path: str) -> ErrorCode:
    """Return why a path that cannot be one is refused; null is what Java's checks fail on."""
    return ErrorCode.MARSHALLING_ERROR if path == NULL_TEXT else ErrorCode.BAD_ARGUMENTS


def _validate_below_existing(path: str, end: i64) -> None:
    """Validate a path whose last ``/`` is at ``end`` and whose parent exists.

    So only the name can be wrong, or the path is ``//name``, whose parent is the root.
    """
    if end == 1 or not paths.ends_plainly(path, end + 1):
        _validate(path)


def _validate(path: str) -> None:
    if paths.reason_invalid(path) is not None:
        raise RequestError(ErrorCode.BAD_ARGUMENTS, path)


def _next_version(current: int, expected: int, path: str) -> int:
    """Return the version after ``current``; raises RequestError where another was expected."""
    if expected not in (-1, current):
        raise RequestError(ErrorCode.BAD_VERSION, path)
    return wrap_int32(current + 1)
