"""Reads: one function for each op code, which returns the reply's body and the path that it shows.

``read`` decodes a request, finds its znode and encodes the body of the reply. It changes nothing
except the watches of the connection. From the path, the processor decides whether the reply is sent
immediately, or waits for a batch.
"""

from collections.abc import Callable
from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.model import paths
from zoolet.model.acl import NULL_TEXT
from zoolet.model.codes import ErrorCode, OpCode, by_number
from zoolet.model.errors import RequestError
from zoolet.server.connections.batches import EVERYTHING, NOTHING, Shows
from zoolet.server.connections.connection import Connection
from zoolet.server.pipeline.encoding_steps import (
    ENTRIES_AT_ONCE,
    LONG_LIST,
    EncodingSteps,
    EntriesOfAcl,
    MultiReadReply,
    NamesOfChildren,
    PathsOfEphemerals,
    ReadPart,
    long_directory,
)
from zoolet.state_machine import access
from zoolet.state_machine.identities import SKIPS_ACL
from zoolet.state_machine.machine import StateMachine
from zoolet.wire.jute import Reader
from zoolet.wire.replies import (
    encode_acl,
    encode_count,
    encode_identities,
    encode_paths,
    encode_watch_added,
    stat_in,
)
from zoolet.wire.requests import (
    decode_add_watch,
    decode_multi_read,
    decode_path,
    decode_path_or_null,
    decode_watches_of,
    read_path_watch,
)

_GET_DATA: Final = OpCode.GET_DATA.value
_PING: Final = OpCode.PING.value

_READ_AT_ONCE_BYTES: Final = 1 << 18
"""A longer reply to a multiRead is encoded in several steps."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Shown:
    """The result of a read.

    Attributes:
        shows: the part of the tree that the reply shows.
        body: the body of the reply; empty if ``steps`` encode the body.
        steps: the steps that encode a long body; None if ``body`` is the body.
        err: the error code if the read is refused; 0 if the read succeeds.
    """

    __slots__ = ("body", "err", "shows", "steps")

    def __init__(
        self, shows: Shows, body: bytes, steps: EncodingSteps | None = None, err: int = 0
    ) -> None:
        self.shows = shows
        self.body = body
        self.steps = steps
        self.err = err


Read = Callable[[StateMachine, Connection, Reader], Shown]


def _get_data(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    path, watch = read_path_watch(reader)
    shown = _real(path)
    record = machine.readable(shown, asker.identities)
    if watch:
        machine.watch_data(path, asker)
    return Shown(shown, record)


def _exists(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    path, watch = read_path_watch(reader)
    if "\0" in path:
        raise RequestError(ErrorCode.BAD_ARGUMENTS, path)
    shown = _real(path)
    record = machine.tree.record_of(shown)
    if record is not None:
        machine.check_readable(shown, asker.identities)
    if watch:
        machine.watch_data(path, asker)
    if record is None:
        raise RequestError(ErrorCode.NO_NODE, shown)
    return Shown(shown, stat_in(record))


def _get_children(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    path, _ = _list(machine, asker, reader)
    return _names_of(machine, path, b"")


def _get_children2(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    path, record = _list(machine, asker, reader)
    return _names_of(machine, path, stat_in(record))


def _names_of(machine: StateMachine, path: str, behind: bytes) -> Shown:
    """Return the names of the children of ``path``, with ``behind`` after them."""
    directory = long_directory(machine.tree, path)
    if directory is not None:
        return Shown(path, b"", NamesOfChildren(directory, behind))
    listing = machine.tree.encoded_names(path)
    return Shown(path, listing + behind if behind else listing)


def _list(machine: StateMachine, asker: Connection, reader: Reader) -> tuple[str, bytes]:
    """Return the path whose children a client may list, and the record of its znode."""
    path, watch = read_path_watch(reader)
    shown = _real(path)
    record = machine.readable(shown, asker.identities)
    if watch:
        machine.watch_children(path, asker)
    return shown, record


def _real(path: str) -> str:
    """Return the path under which the tree stores a znode: "/" for the path "".

    Apache ZooKeeper also finds the root under "". It sets a watch on the requested path, so a watch
    on "" receives no event; callers of this function do the same.
    """
    return path or paths.ROOT


def _get_acl(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    path = _real(decode_path(reader).path)
    acl, hides_digests, record = machine.acl_of(path, asker.identities)
    if len(acl) > ENTRIES_AT_ONCE:
        return Shown(path, b"", EntriesOfAcl(acl, hides_digests, stat_in(record)))
    if hides_digests:
        acl = access.hide_digests(acl)
    return Shown(path, encode_acl(acl, stat_in(record)))


def _multi_read(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    """Read each part independently: the result of a refused part is its error code.

    No part sets a watch, even if it requests a watch (``MultiOperationRecord.deserialize``).
    """
    operations = decode_multi_read(reader).operations
    rules = machine.rules
    if 0 < rules.most_read_parts < len(operations):
        return Shown(EVERYTHING, b"", err=ErrorCode.BAD_ARGUMENTS)
    parts: list[ReadPart] = []
    listed: dict[str, NamesOfChildren] = {}
    size_bytes = 0
    for op_code, request in operations:
        path = _real(request.path)
        part = ReadPart(op_code)
        parts.append(part)
        try:
            record = machine.readable(path, asker.identities)
        except RequestError as error:
            part.err = int(error.code)
            continue
        if op_code == _GET_DATA:
            part.body = record
        elif (directory := long_directory(machine.tree, path)) is None:
            part.body = machine.tree.encoded_names(path)
        elif (names := listed.get(path)) is not None:
            part.names = names
        else:
            part.names = listed[path] = NamesOfChildren(directory, b"")
        size_bytes += len(part.body)
    reply = MultiReadReply(parts, rules.most_read_bytes)
    if not listed and size_bytes <= _READ_AT_ONCE_BYTES:
        while not reply.step():
            pass
        return Shown(EVERYTHING, b"".join(reply.parts()))
    return Shown(EVERYTHING, b"", reply)


def _get_all_children_number(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    path = decode_path(reader).path
    return Shown(EVERYTHING, encode_count(machine.count_below(path, asker.identities)))


def _get_ephemerals(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    prefix = decode_path_or_null(reader).path
    if prefix == NULL_TEXT:
        prefix = ""
    session_id = 0 if asker.session is None else asker.session.session_id
    owned = machine.tree.ephemerals.get(session_id)
    if owned is None or len(owned) <= LONG_LIST:
        return Shown(EVERYTHING, encode_paths(machine.ephemerals_of(session_id, prefix)))
    steps = PathsOfEphemerals(tuple(owned), machine.plain_prefix(prefix))
    return Shown(EVERYTHING, b"", steps)


def _add_watch(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    request = decode_add_watch(reader)
    machine.add_watch(request.path, asker, request.mode)
    return Shown(NOTHING, encode_watch_added())


def _check_watches(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    machine.check_watches(decode_watches_of(reader), asker)
    return Shown(NOTHING, b"")


def _remove_watches(machine: StateMachine, asker: Connection, reader: Reader) -> Shown:
    machine.remove_watches(decode_watches_of(reader), asker)
    return Shown(NOTHING, b"")


def _who_am_i(_machine: StateMachine, asker: Connection, _reader: Reader) -> Shown:
    users = [(who.scheme, access.user_of(*who)) for who in asker.identities.ids if who != SKIPS_ACL]
    return Shown(NOTHING, encode_identities(users))


_READS: Final[dict[int, Read]] = by_number(
    {
        OpCode.EXISTS: _exists,
        OpCode.GET_DATA: _get_data,
        OpCode.GET_ACL: _get_acl,
        OpCode.GET_CHILDREN: _get_children,
        OpCode.GET_CHILDREN2: _get_children2,
        OpCode.MULTI_READ: _multi_read,
        OpCode.GET_ALL_CHILDREN_NUMBER: _get_all_children_number,
        OpCode.GET_EPHEMERALS: _get_ephemerals,
        OpCode.ADD_WATCH: _add_watch,
        OpCode.CHECK_WATCHES: _check_watches,
        OpCode.REMOVE_WATCHES: _remove_watches,
        OpCode.WHO_AM_I: _who_am_i,
    }
)


def read(op_code: int, machine: StateMachine, asker: Connection, reader: Reader) -> Shown | None:
    """Return the result of the read whose body is next in ``reader``.

    Returns None if the op code is not a read. Raises RequestError if the read is refused, and
    MalformedError if the body is malformed.
    """
    # The most frequent requests first: compiled code calls these functions without a table.
    if op_code == _GET_DATA:
        return _get_data(machine, asker, reader)
    if op_code == _PING:
        return Shown(NOTHING, b"")
    found = _READS.get(op_code)
    return None if found is None else found(machine, asker, reader)
