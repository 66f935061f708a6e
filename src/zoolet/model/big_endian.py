"""Big-endian numbers in bytes, and a buffer that grows: all that reading and writing records takes.

They are librt's, which mypyc compiles to machine code; where there is no librt, the same in plain
Python. An index outside of the bytes is an IndexError either way.
"""

try:
    from librt.strings import (
        BytesWriter,
        read_i32_be,
        read_i64_be,
        write_i32_be,
        write_i64_be,
    )
except ImportError:  # an interpreter for which librt is not built
    from zoolet.model.big_endian_python import (  # type: ignore[assignment]
        BytesWriter,
        read_i32_be,
        read_i64_be,
        write_i32_be,
        write_i64_be,
    )

__all__ = ["BytesWriter", "read_i32_be", "read_i64_be", "write_i32_be", "write_i64_be"]
