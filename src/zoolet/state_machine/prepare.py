"""Prepare: decide what a request changes, or why it is refused. This module changes nothing.

There is one function per kind of request. The order of the checks in each function is that of
Apache ZooKeeper (``PrepRequestProcessor.pRequest2Txn``), because it decides which error a client
receives if several apply. The parts of a multi see the effects of the earlier parts through a View,
which keeps these effects separate from the tree until the whole multi is applied.
"""

from typing import Final

from mypy_extensions import i64

from zoolet.model import paths
from zoolet.model.acl import NULL_TEXT, OPEN_ACL, AclList
from zoolet.model.codes import ErrorCode, OpCode, Permission
from zoolet.model.errors import RequestError
from zoolet.model.owner_kinds import MAX_TTL_MS, NOBODY, SESSION, TTL
from zoolet.model.requests import (
    Check,
    CloseSession,
    Create,
    CreateSession,
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
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    TxnBody,
)
from zoolet.state_machine import access
from zoolet.state_machine.acl_table import OPEN, StoredAcl
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import MODES, MadeZnode, Mode, Requester, View, ZnodeState
from zoolet.state_machine.znode import wrap_int32

# Plain ints: arithmetic on enum members costs more than the checks themselves.
_READ: Final = Permission.READ.value
_WRITE: Final = Permission.WRITE.value
_CREATE: Final = Permission.CREATE.value
_DELETE: Final = Permission.DELETE.value
_ADMIN: Final = Permission.ADMIN.value


def prepare(
    tree: Tree, sessions: SessionTable, view: View, asker: Requester, request: WriteRequest
) -> TxnBody:
    """Return the change that ``request`` makes.

    If a part of a multi is refused, the result is a MultiTxn that changes nothing and has the error
    of each part. If any other request is refused, raises RequestError.
    """
    # In compiled code, each test compares two pointers; the most frequent types come first.
    if isinstance(request, (Create, SetData, Delete, Check)):
        sessions.live(asker.session_id)
        return _prepare_part(view, asker, request)
    if isinstance(request, Multi):
        sessions.live(asker.session_id)
        return _prepare_multi(view, asker, request)
    if isinstance(request, SetAcl):
        sessions.live(asker.session_id)
        return _prepare_set_acl(view, asker, request)
    if isinstance(request, CreateSession):
        return CreateSessionTxn(request.timeout_ms)
    if isinstance(request, CloseSession):
        return CloseSessionTxn(tree.ephemerals_of(asker.session_id))
    return _prepare_delete_container(view, request)


def _prepare_part(view: View, asker: Requester, request: PartRequest) -> SubTxn:
    """Prepare a request that may also be a part of a multi."""
    if isinstance(request, Create):
        return _prepare_create(view, asker, request)
    if isinstance(request, SetData):
        return _prepare_set_data(view, asker, request)
    if isinstance(request, Delete):
        return _prepare_delete(view, asker, request)
    return _prepare_check(view, asker, request)


def _prepare_multi(view: View, asker: Requester, multi: Multi) -> MultiTxn:
    txns: list[tuple[int, SubTxn]] = []
    refused = False
    view.begin_parts()
    for op_code, request in multi.operations:
        if refused:
            txns.append((OpCode.ERROR, ErrorTxn(ErrorCode.RUNTIME_INCONSISTENCY)))
            continue
        try:
            txns.append((op_code, _prepare_part(view, asker, request)))
        except RequestError as error:
            if error.code is ErrorCode.MARSHALLING_ERROR:
                raise  # Apache ZooKeeper then refuses the whole multi, without results of its parts
            refused = True
            txns.append((OpCode.ERROR, ErrorTxn(error.code)))
    return MultiTxn(tuple(txns))


def _prepare_create(view: View, asker: Requester, request: Create) -> CreateTxn:
    kind, ttl_ms = request.kind, request.ttl_ms
    mode = _mode_of(view, request.path, request.flags, ttl_ms)
    if kind is TTL and not mode.has_ttl:
        raise RequestError(ErrorCode.BAD_ARGUMENTS, request.path)
    if kind is NOBODY and mode.is_ephemeral:
        kind = SESSION
    made = _prepare_znode(view, asker, request.path, request.data, request.acl, mode)
    ttl_ms = ttl_ms if kind is TTL else 0
    return CreateTxn(made.path, request.data, made.acl, kind, made.created, ttl_ms)


def _mode_of(view: View, path: str, flags: int, ttl_ms: int) -> Mode:
    """Return the mode for the flags of a create; only the modes with a TTL may have a TTL.

    Raises RequestError: UNIMPLEMENTED if TTLs are switched off, BAD_ARGUMENTS if the flags or the
    TTL are invalid.
    """
    mode = MODES.get(flags)
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
    """Prepare the deletion of a container or TTL znode, if it has no child and is not ephemeral."""
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
    """Return a znode's state; raises RequestError (BAD_ARGUMENTS, NO_NODE).

    An existing znode has a valid path, so only the path of a missing znode is validated.
    """
    node = view.find(path)
    if node is None:
        _validate(path)
        raise RequestError(ErrorCode.NO_NODE, path)
    return node


def _code_of_no_path(path: str) -> ErrorCode:
    """Return the error for a path that is not allowed.

    A null path is a marshalling error, because Java's checks of it raise an exception.
    """
    return ErrorCode.MARSHALLING_ERROR if path == NULL_TEXT else ErrorCode.BAD_ARGUMENTS


def _validate_below_existing(path: str, end: i64) -> None:
    """Validate a path whose last ``/`` is at ``end`` and whose parent exists.

    The parent's path is valid, so only the name must be checked. The only other invalid path is
    ``//name``, whose parent is the root.
    """
    if end == 1 or not paths.ends_plainly(path, end + 1):
        _validate(path)


def _validate(path: str) -> None:
    if paths.reason_invalid(path) is not None:
        raise RequestError(ErrorCode.BAD_ARGUMENTS, path)


def _next_version(current: int, expected: int, path: str) -> int:
    """Return the version after ``current``.

    Raises RequestError (BAD_VERSION) if ``expected`` is neither ``current`` nor -1.
    """
    if expected not in (-1, current):
        raise RequestError(ErrorCode.BAD_VERSION, path)
    return wrap_int32(current + 1)
