"""The table of records: in C, or in Python if the build has no C compiler. They do the same."""

try:
    from zoolet.state_machine.record_table import RecordTable, encode_plain
except ImportError:
    from zoolet.state_machine.tables import PathTable as RecordTable  # type: ignore[assignment]

    def encode_plain(*_arguments: object) -> tuple[bytes, int]:  # type: ignore[misc]
        """Encode no znode as a plain one, which is correct too."""
        return b"", 0


__all__ = ["RecordTable", "encode_plain"]
