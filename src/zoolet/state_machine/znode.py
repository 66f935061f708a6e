"""A znode as a record: its data behind their length, then its Stat, as a getData is answered."""

from collections.abc import Iterable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.model.acl import AclList
from zoolet.model.big_endian import (
    BytesWriter,
    read_i32_be,
    write_i32_be,
    write_i64_be,
)
from zoolet.model.stat import Stat
from zoolet.state_machine.acl_table import StoredAcl

# Where the fields of a Stat begin, counted from the end of a record.
STAT_BYTES: Final = 68
MZXID: Final = 60
MTIME: Final = 44
VERSION: Final = 36
CVERSION: Final = 32
AVERSION: Final = 28
OWNER: Final = 24
DATA_LENGTH: Final = 16
NUM_CHILDREN: Final = 12
PZXID: Final = 8

LENGTH_BYTES: Final = 4
"""Of the length that stands before the data; -1 where the data are null."""


def wrap_int32(value: int) -> int:
    """Return what is left of ``value`` in Java's int: 2**31 wraps to -2**31."""
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Znode:
    """A look at one znode as it is at this moment.

    Attributes:
        record: its data as a jute buffer, then its packed Stat: the body of a getData reply.
        acl: its access control list; the very object OPEN_ACL where everyone may do everything.
        names: of its children, in order of creation.
        created: how often a child was created under it.
    """

    __slots__ = ("acl", "created", "names", "record")

    def __init__(self, record: bytes, acl: AclList, names: list[str], created: int) -> None:
        self.record = record
        self.acl = acl
        self.names = names
        self.created = created

    @property
    def data(self) -> bytes | None:
        """The data; None where null was written."""
        return data_in(self.record)

    @property
    def stat(self) -> Stat:
        """The Stat."""
        return Stat.unpack(self.record, len(self.record) - STAT_BYTES)


def data_in(record: bytes) -> bytes | None:
    """Return a record's data; None where null was written."""
    if read_i32_be(record, 0) < 0:
        return None
    return record[LENGTH_BYTES : len(record) - STAT_BYTES]


def data_length(record: bytes) -> i64:
    """Return how many bytes of data a record has; null has none."""
    return i64(len(record)) - LENGTH_BYTES - STAT_BYTES


def encode_record(data: bytes | None, stat: Stat) -> bytes:
    """Return the record of a znode."""
    writer = BytesWriter()
    write_data(writer, data)
    writer.write(stat.pack())
    return writer.getvalue()


def write_names(writer: BytesWriter, children: Iterable[str]) -> None:
    """Write the names of children, given by their paths."""
    for child in children:
        name = child[child.rfind("/") + 1 :].encode()
        write_i32_be(writer, len(name))
        writer.write(name)


def write_data(writer: BytesWriter, data: bytes | None) -> None:
    """Write the data as a jute buffer; None is null."""
    if data is None:
        write_i32_be(writer, -1)
    else:
        write_i32_be(writer, len(data))
        writer.write(data)


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class KeptZnode:
    """A znode as it is at one moment.

    Attributes:
        record: its record.
        acl: its ACL.
        owner: what ``Tree.perishable`` says of it; 0: nothing.
        created: how often a child was created under it.
    """

    __slots__ = ("acl", "created", "owner", "record")

    def __init__(self, record: bytes, acl: StoredAcl, owner: int, created: int) -> None:
        self.record = record
        self.acl = acl
        self.owner = owner
        self.created = created


def new_record(data: bytes | None, owner: int, zxid: i64, time_ms: i64) -> bytes:
    """Return the record of a znode that is created now."""
    writer = BytesWriter()
    write_data(writer, data)
    write_i64_be(writer, zxid)
    write_i64_be(writer, zxid)
    write_i64_be(writer, time_ms)
    write_i64_be(writer, time_ms)
    write_i64_be(writer, 0)  # version and cversion
    write_i32_be(writer, 0)  # aversion
    write_i64_be(writer, owner)
    write_i32_be(writer, 0 if data is None else len(data))
    write_i32_be(writer, 0)  # children
    write_i64_be(writer, zxid)
    return writer.getvalue()


def stat_of_system_node(aversion: int) -> Stat:
    """Return the Stat of a znode that every database has."""
    return Stat(0, 0, 0, 0, 0, 0, aversion, 0, 0, 0, 0)
