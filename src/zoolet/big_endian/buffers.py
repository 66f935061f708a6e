"""Big-endian numbers in bytes, and a buffer that grows, for reading and writing records.

The functions are those of librt, which compiled modules call without the interpreter. If librt is
not available, they are replaced by plain Python. In both cases, an index outside the bytes raises
IndexError, and writing a number that does not fit raises ValueError.
"""

try:
    from librt.strings import (
        BytesWriter,
        read_i32_be,
        read_i64_be,
        write_i32_be,
        write_i64_be,
    )
except ImportError:  # librt is not built for this interpreter
    from zoolet.big_endian.pure_python import (  # type: ignore[assignment]
        BytesWriter,
        read_i32_be,
        read_i64_be,
        write_i32_be,
        write_i64_be,
    )

__all__ = ["BytesWriter", "read_i32_be", "read_i64_be", "write_i32_be", "write_i64_be"]
