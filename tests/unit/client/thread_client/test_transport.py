"""The connection of `Client`."""

from zoolet.client.thread_client.transport import RECEIVE_BYTES

GLIBC_MMAP_THRESHOLD_BYTES = 128 << 10


def test_glibc_maps_no_memory_for_a_read() -> None:
    """glibc maps a larger buffer for each read, and the kernel fills mapped memory with zeros."""
    assert RECEIVE_BYTES < GLIBC_MMAP_THRESHOLD_BYTES
