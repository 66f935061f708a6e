"""The format of an archive: bytes to values, and values to bytes. No I/O."""
