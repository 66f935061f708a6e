"""The largest txn: what Apache ZooKeeper reads back from its log with a given jute.maxbuffer."""

import pytest

from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES, max_txn_bytes_of
from zoolet.state_machine.rules import Rules


@pytest.mark.parametrize("max_frame_bytes", [1024, 1025, 4096, DEFAULT_MAX_FRAME_BYTES, 1 << 24])
def test_the_largest_txn_is_twice_the_largest_frame(max_frame_bytes: int) -> None:
    assert max_txn_bytes_of(max_frame_bytes) == 2 * max_frame_bytes


@pytest.mark.parametrize("max_frame_bytes", [0, 1, 1023])
def test_the_extra_size_is_at_least_1024_bytes(max_frame_bytes: int) -> None:
    assert max_txn_bytes_of(max_frame_bytes) == max_frame_bytes + 1024


def test_without_a_setting_the_largest_txn_is_that_of_the_default_frame() -> None:
    assert Rules().max_txn_bytes == max_txn_bytes_of(DEFAULT_MAX_FRAME_BYTES) == 2 * 0xFFFFF
