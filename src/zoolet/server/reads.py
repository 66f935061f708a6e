"""Reads: what each of them shows, and the body of its reply. A table from op code to function.

This is the read path: a request's bytes, the znode that they name, the bytes that answer. A read
changes nothing but the watches of who asks. Whether its reply may leave at once is the processor's
to say, by the path that it shows.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from zoolet.core import access
from zoolet.core.machine import StateMachine
from zoolet.core.sessions import Session
from zoolet.model.acl import Id
from zoolet.model.codes import ErrorCode, OpCode, Permission
from zoolet.model.errors import RequestError
from zoolet.model.requests import PathWatch
from zoolet.wire.replies import (
    encode_acl,
    encode_children,
    encode_count,
    encode_identities,
    encode_multi_read,
    encode_paths,
    encode_watch_added,
)
from zoolet.wire.requests import (
    decode_add_watch,
    decode_multi_read,
    decode_path,
    decode_path_watch,
    decode_watches_of,
)

EVERYTHING: Final = "everything"
"""Instead of a path, which it could never be: the answer may show any znode."""

NOTHING: Final = None
"""Instead of a path: the answer shows no znode."""


class Asker(Protocol):
    """The connection that asks: its watches are the ones that are set."""

    session: Session | None

    @property
    def identities(self) -> Sequence[Id]:
        """Who it has proven to be."""
        ...


class Shown(NamedTuple):
    """What a read shows: a path, EVERYTHING or NOTHING, and the reply's body."""

    path: str | None
    body: bytes


Read = Callable[[StateMachine, Asker, bytes, int, int], Shown]
"""Raises RequestError where the read is refused, MalformedError where the body is none."""


def _get_data(machine: StateMachine, asker: Asker, data: bytes, start: int, end: int) -> Shown:
    request = decode_path_watch(data, start, end)
    return Shown(request.path, _data_of(machine, asker, request))


def _data_of(machine: StateMachine, asker: Asker, request: PathWatch) -> bytes:
    path, watch = request
    node = machine.readable(path, asker.identities)
    if watch:
        machine.data_watches.add(path, asker)
    return node.record


def _exists(machine: StateMachine, asker: Asker, data: bytes, start: int, end: int) -> Shown:
    path, watch = decode_path_watch(data, start, end)
    if "\0" in path:
        raise RequestError(ErrorCode.BAD_ARGUMENTS, path)
    node = machine.tree.nodes.get(path)
    if node is not None:
        access.check(node.acl, asker.identities, Permission.READ, path)
    if watch:
        machine.data_watches.add(path, asker)
    if node is None:
        raise RequestError(ErrorCode.NO_NODE, path)
    return Shown(path, node.packed_stat)


def _get_children(machine: StateMachine, asker: Asker, data: bytes, start: int, end: int) -> Shown:
    request = decode_path_watch(data, start, end)
    return Shown(request.path, _children_of(machine, asker, request, with_stat=False))


def _get_children2(machine: StateMachine, asker: Asker, data: bytes, start: int, end: int) -> Shown:
    request = decode_path_watch(data, start, end)
    return Shown(request.path, _children_of(machine, asker, request, with_stat=True))


def _children_of(
    machine: StateMachine, asker: Asker, request: PathWatch, *, with_stat: bool
) -> bytes:
    path, watch = request
    node = machine.readable(path, asker.identities)
    if watch:
        machine.child_watches.add(path, asker)
    return encode_children(node.names, node.packed_stat if with_stat else b"")


def _get_acl(machine: StateMachine, asker: Asker, data: bytes, start: int, end: int) -> Shown:
    path = decode_path(data, start, end).path
    acl, node = machine.acl_of(path, asker.identities)
    return Shown(path, encode_acl(acl, node.packed_stat))


def _multi_read(machine: StateMachine, asker: Asker, data: bytes, start: int, end: int) -> Shown:
    """Answer each part for itself: one that is refused does not hold the others back.

    No part sets a watch, whatever it says (``MultiOperationRecord.deserialize``).
    """
    parts = []
    for op_code, (path, _watch) in decode_multi_read(data, start, end).operations:
        request = PathWatch(path, watch=False)
        err, body = 0, b""
        try:
            if op_code is OpCode.GET_DATA:
                body = _data_of(machine, asker, request)
            else:
                body = _children_of(machine, asker, request, with_stat=False)
        except RequestError as error:
            err = int(error.code)
        parts.append((op_code, err, body))
    return Shown(EVERYTHING, encode_multi_read(parts))


def _get_all_children_number(
    machine: StateMachine, asker: Asker, data: bytes, start: int, end: int
) -> Shown:
    path = decode_path(data, start, end).path
    return Shown(EVERYTHING, encode_count(machine.count_below(path, asker.identities)))


def _get_ephemerals(
    machine: StateMachine, asker: Asker, data: bytes, start: int, end: int
) -> Shown:
    prefix = decode_path(data, start, end).path
    session_id = 0 if asker.session is None else asker.session.session_id
    return Shown(EVERYTHING, encode_paths(machine.ephemerals_of(session_id, prefix)))


def _add_watch(machine: StateMachine, asker: Asker, data: bytes, start: int, end: int) -> Shown:
    path, mode = decode_add_watch(data, start, end)
    machine.add_watch(path, asker, mode)
    return Shown(NOTHING, encode_watch_added())


def _check_watches(machine: StateMachine, asker: Asker, data: bytes, start: int, end: int) -> Shown:
    machine.check_watches(decode_watches_of(data, start, end), asker)
    return Shown(NOTHING, b"")


def _remove_watches(
    machine: StateMachine, asker: Asker, data: bytes, start: int, end: int
) -> Shown:
    machine.remove_watches(decode_watches_of(data, start, end), asker)
    return Shown(NOTHING, b"")


def _who_am_i(_machine: StateMachine, asker: Asker, _data: bytes, _start: int, _end: int) -> Shown:
    users = [
        (who.scheme, access.user_of(*who))
        for who in asker.identities
        if who is not access.SKIPS_ACL
    ]
    return Shown(NOTHING, encode_identities(users))


def _ping(_machine: StateMachine, _asker: Asker, _data: bytes, _start: int, _end: int) -> Shown:
    return Shown(NOTHING, b"")


READS: dict[int, Read] = {
    OpCode.EXISTS: _exists,
    OpCode.GET_DATA: _get_data,
    OpCode.GET_ACL: _get_acl,
    OpCode.GET_CHILDREN: _get_children,
    OpCode.GET_CHILDREN2: _get_children2,
    OpCode.PING: _ping,
    OpCode.MULTI_READ: _multi_read,
    OpCode.GET_ALL_CHILDREN_NUMBER: _get_all_children_number,
    OpCode.GET_EPHEMERALS: _get_ephemerals,
    OpCode.ADD_WATCH: _add_watch,
    OpCode.CHECK_WATCHES: _check_watches,
    OpCode.REMOVE_WATCHES: _remove_watches,
    OpCode.WHO_AM_I: _who_am_i,
}
