"""Size limits that are the same in zoolet and Apache ZooKeeper.

Source: ``BinaryInputArchive``, and ``jute.maxbuffer`` and ``jute.maxbuffer.extrasize`` in the
administrator's guide of ZooKeeper 3.9.
"""

from typing import Final

DEFAULT_MAX_FRAME_BYTES: Final = 0xFFFFF
"""The default of ``jute.maxbuffer``."""

_LEAST_EXTRA_BYTES: Final = 1024


def max_txn_bytes_of(max_frame_bytes: int) -> int:
    """Return the maximum size in bytes of a txn that Apache ZooKeeper can read from its log.

    ``max_frame_bytes`` is ``jute.maxbuffer``. A log record may have ``jute.maxbuffer.extrasize``
    bytes more than that. The default of the extra size is ``jute.maxbuffer``, but at least 1,024.
    """
    return max_frame_bytes + max(max_frame_bytes, _LEAST_EXTRA_BYTES)
