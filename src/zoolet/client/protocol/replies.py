"""Ends a call with the reply of the server: its result, or the error for its error code.

This module imports ``wire``, ``model``, and the client's errors and calls.
"""

from typing import Final

from zoolet.client.errors import NoNodeError, RolledBackError, ZooKeeperError, error_of
from zoolet.client.protocol.calls import Call
from zoolet.model.codes import OpCode
from zoolet.model.results import Created, Refused
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.reply_bodies import (
    read_acl_and_stat,
    read_children_and_stat,
    read_created,
    read_data,
    read_identities,
    read_multi,
    read_multi_read,
    read_number,
    read_path,
    read_paths,
    read_stat,
)

_GET_DATA: Final = OpCode.GET_DATA.value
_SET_DATA: Final = OpCode.SET_DATA.value
_EXISTS: Final = OpCode.EXISTS.value
_MULTI: Final = OpCode.MULTI.value
_MULTI_READ: Final = OpCode.MULTI_READ.value
_NO_NODE: Final = NoNodeError.code
_READ_CREATED: Final = frozenset(
    {OpCode.CREATE2.value, OpCode.CREATE_CONTAINER.value, OpCode.CREATE_TTL.value}
)
_READ_STAT: Final = frozenset({_EXISTS, _SET_DATA, OpCode.SET_ACL.value})

_NAMES: Final = {
    OpCode.CREATE.value: "create",
    OpCode.CREATE2.value: "create",
    OpCode.CREATE_CONTAINER.value: "create",
    OpCode.CREATE_TTL.value: "create",
    OpCode.DELETE.value: "delete",
    OpCode.EXISTS.value: "exists",
    OpCode.GET_DATA.value: "get",
    OpCode.SET_DATA.value: "set",
    OpCode.GET_ACL.value: "get_acl",
    OpCode.SET_ACL.value: "set_acl",
    OpCode.GET_CHILDREN.value: "children",
    OpCode.GET_CHILDREN2.value: "children",
    OpCode.SYNC.value: "sync",
    OpCode.CHECK.value: "check",
    OpCode.MULTI.value: "multi",
    OpCode.MULTI_READ.value: "multi_read",
    OpCode.RECONFIG.value: "reconfig",
    OpCode.CHECK_WATCHES.value: "check_watches",
    OpCode.REMOVE_WATCHES.value: "remove_watches",
    OpCode.GET_EPHEMERALS.value: "ephemerals",
    OpCode.GET_ALL_CHILDREN_NUMBER.value: "count_descendants",
    OpCode.ADD_WATCH.value: "watch",
    OpCode.WHO_AM_I.value: "who_am_i",
    OpCode.AUTH.value: "add_auth",
    OpCode.CLOSE_SESSION.value: "close",
}


def name_of(op_code: int) -> str:
    """Return the name of the client's method for an op code."""
    return _NAMES.get(op_code, f"request {op_code}")


def finish(call: Call[object], err: int, reader: Reader, chroot: str) -> None:
    """Set the result or the error of a call.

    Raises:
        MalformedError: the body of the reply is invalid; then the call is unchanged.
    """
    op_code = call.op_code
    if err != 0:
        # exists() without a znode is no error: the result stays None.
        if not (op_code == _EXISTS and err == _NO_NODE):
            call.error = error_of(err, name_of(op_code), call.path)
    elif op_code == _GET_DATA:
        call.result = read_data(reader)
    elif op_code in _READ_STAT:
        call.result = read_stat(reader)
    elif op_code == _MULTI:
        _finish_multi(call, reader, chroot)
    elif op_code == _MULTI_READ:
        _finish_multi_read(call, reader)
    else:
        call.result = _read_other(call, reader, chroot)
    call.lists = None


def _read_other(call: Call[object], reader: Reader, chroot: str) -> object:
    op_code = call.op_code
    if op_code in _READ_CREATED:
        created = read_created(reader)
        return Created(_without(chroot, created.path), created.stat) if chroot else created
    if op_code == OpCode.GET_CHILDREN2:
        return read_children_and_stat(reader) if call.lists is None else call.lists.children(reader)
    if op_code == OpCode.GET_ACL:
        return read_acl_and_stat(reader)
    if op_code == OpCode.GET_EPHEMERALS:
        # The prefix is the chroot, with which the names of other znodes may begin too.
        listed = read_paths(reader)
        return tuple([_without(chroot, path) for path in listed if _is_below(chroot, path)])
    if op_code in (OpCode.CREATE, OpCode.SYNC):
        return _without(chroot, read_path(reader))
    if op_code == OpCode.GET_ALL_CHILDREN_NUMBER:
        return read_number(reader)
    if op_code == OpCode.WHO_AM_I:
        return read_identities(reader)
    if op_code == OpCode.RECONFIG:
        return read_data(reader)
    return None  # delete, addWatch, checkWatches, removeWatches, closeSession: no body


def _finish_multi(call: Call[object], reader: Reader, chroot: str) -> None:
    """Set the results of a multi, or the error of the operation that failed."""
    results = read_multi(reader)
    parts = _parts_of(call, len(results))
    errors: list[ZooKeeperError] = []
    first: ZooKeeperError | None = None
    for result, (op_code, path) in zip(results, parts, strict=True):
        if isinstance(result, Refused):
            name = name_of(op_code)
            error = (
                error_of(result.code, name, path) if result.code else RolledBackError(name, path)
            )
            errors.append(error)
            if first is None and result.code:
                first = error
    if errors:
        if len(errors) != len(results):
            raise MalformedError(f"{len(errors)} of {len(results)} operations of a multi failed")
        call.error = first or errors[0]
        call.error.results = tuple(errors)
    else:
        call.result = (
            results
            if not chroot
            else tuple([_without(chroot, one) if isinstance(one, str) else one for one in results])
        )


def _finish_multi_read(call: Call[object], reader: Reader) -> None:
    results = read_multi_read(reader) if call.lists is None else call.lists.parts(reader)
    parts = _parts_of(call, len(results))
    call.result = tuple(
        [
            error_of(result.code, name_of(part[0]), part[1])
            if isinstance(result, Refused)
            else result
            for result, part in zip(results, parts, strict=True)
        ]
    )


def _parts_of(call: Call[object], count: int) -> list[tuple[int, str]]:
    parts = call.parts or []
    if len(parts) != count:
        raise MalformedError(f"{count} results for {len(parts)} operations")
    return parts


def _is_below(chroot: str, path: str) -> bool:
    return not chroot or path == chroot or path.startswith(chroot + "/")


def _without(chroot: str, path: str) -> str:
    return path[len(chroot) :] or "/" if chroot else path
