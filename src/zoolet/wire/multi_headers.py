"""The headers between the parts of a multi or multiRead, in requests and in replies.

Source: ``MultiHeader`` in Apache ZooKeeper's ``zookeeper.jute``: op code, done, err.
"""

from typing import Final

from zoolet.big_endian.buffers import BytesWriter, write_i32_be
from zoolet.wire.jute import Reader

END_OF_MULTI: Final = 1 << 31
"""The result of ``next_in_multi`` at the end mark. It is not an op code, which has 32 bits."""


def write_multi_header(writer: BytesWriter, op_code: int, err: int) -> None:
    """Write the header before a part. In a request, err is -1."""
    write_i32_be(writer, op_code)
    writer.append(0)
    write_i32_be(writer, err)


def write_end_of_multi(writer: BytesWriter) -> None:
    """Write the end mark after the parts of a multi."""
    write_i32_be(writer, -1)
    writer.append(1)
    write_i32_be(writer, -1)


def next_in_multi(reader: Reader) -> int:
    """Read a header; return its op code, or END_OF_MULTI if it is the end mark."""
    op_code, done, _err = reader.read_int(), reader.read_bool(), reader.read_int()
    return END_OF_MULTI if done else op_code
