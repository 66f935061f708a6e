"""A znode as a record, the body of a getData reply: the data's length, the data and the Stat."""

from collections.abc import Iterable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.big_endian.buffers import (
    BytesWriter,
    read_i32_be,
    write_i32_be,
    write_i64_be,
)
from zoolet.model.acl import AclList
from zoolet.model.stat import STAT_BYTES, Stat

# The offsets of the fields of the Stat, counted back from the end of a record.
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
"""The size of the length before the data; the length is -1 if the data are null."""


def wrap_int32(value: int) -> int:
    """Return ``value`` wrapped to Java's int: 2**31 becomes -2**31."""
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Znode:
    """The state of one znode at one moment, for readers.

    Attributes:
        record: its data as a jute buffer, then its packed Stat: the body of a getData reply.
        acl: its access control list; the object OPEN_ACL itself if everyone may do everything.
        names: the names of its children, in order of creation.
        created: the number of times that a child was created under it.
    """

    __slots__ = ("acl", "created", "names", "record")

    def __init__(self, record: bytes, acl: AclList, names: list[str], created: int) -> None:
        self.record = record
        self.acl = acl
        self.names = names
        self.created = created

    @property
    def data(self) -> bytes | None:
        """The data; None if the data are null."""
        return data_in(self.record)

    @property
    def stat(self) -> Stat:
        """The Stat."""
        return Stat.unpack(self.record, len(self.record) - STAT_BYTES)


def data_in(record: bytes) -> bytes | None:
    """Return a record's data; None if the data are null."""
    if read_i32_be(record, 0) < 0:
        return None
    return record[LENGTH_BYTES : len(record) - STAT_BYTES]


def data_length(record: bytes) -> i64:
    """Return the number of data bytes in a record; 0 if the data are null."""
    return i64(len(record)) - LENGTH_BYTES - STAT_BYTES


def encode_record(data: bytes | None, stat: Stat) -> bytes:
    """Return the record of a znode."""
    writer = BytesWriter()
    write_data(writer, data)
    writer.write(stat.pack())
    return writer.getvalue()


def set_record(before: bytes, data: bytes | None, version: int, zxid: i64, time_ms: i64) -> bytes:
    """Return the record of a znode after a setData."""
    size = len(before)
    writer = BytesWriter()
    write_data(writer, data)
    writer.write(before[size - STAT_BYTES : size - MZXID])
    write_i64_be(writer, zxid)
    writer.write(before[size - MZXID + 8 : size - MTIME])
    write_i64_be(writer, time_ms)
    write_i32_be(writer, version)
    writer.write(before[size - CVERSION : size - DATA_LENGTH])
    write_i32_be(writer, 0 if data is None else len(data))
    writer.write(before[size - NUM_CHILDREN :])
    return writer.getvalue()


def record_with_data(before: bytes, data: bytes) -> bytes:
    """Return a record with other data; of its Stat, only the data length changes."""
    size = len(before)
    writer = BytesWriter()
    write_data(writer, data)
    writer.write(before[size - STAT_BYTES : size - DATA_LENGTH])
    write_i32_be(writer, len(data))
    writer.write(before[size - NUM_CHILDREN :])
    return writer.getvalue()


def write_names(writer: BytesWriter, children: Iterable[str]) -> None:
    """Write the names of children whose paths are given."""
    for child in children:
        name = child[child.rfind("/") + 1 :].encode()
        write_i32_be(writer, len(name))
        writer.write(name)


def write_data(writer: BytesWriter, data: bytes | None) -> None:
    """Write the data as a jute buffer; None is written as null."""
    if data is None:
        write_i32_be(writer, -1)
    else:
        write_i32_be(writer, len(data))
        writer.write(data)


def new_record(data: bytes | None, owner: int, zxid: i64, time_ms: i64) -> bytes:
    """Return the record of a znode that is created at ``time_ms`` since the epoch."""
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
    """Return the Stat of one of ZooKeeper's own znodes in a new database."""
    return Stat(0, 0, 0, 0, 0, 0, aversion, 0, 0, 0, 0)
