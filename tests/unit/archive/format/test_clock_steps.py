"""Segments are cut where the clock of a server was set back."""

import random

from zoolet.archive.format.clock_steps import STEP_MS, is_step, split_at_steps
from zoolet.archive.format.log_records import EncodedTxn


def test_random_times() -> None:
    chance = random.Random(1)
    for _ in range(200):
        time_ms, txns = 10**9, []
        for zxid in range(chance.randrange(30)):
            time_ms += chance.choice((0, 5, 50_000, -50_000, 10**8, -(10**8)))
            txns.append(EncodedTxn(zxid, max(0, time_ms), b""))
        parts = list(split_at_steps(txns))
        assert [txn for part in parts for txn in part] == txns
        for part in parts:
            times = [txn.time_ms for txn in part]
            assert all(not is_step(max(times[:at]), times[at]) for at in range(1, len(times)))
    assert is_step(STEP_MS + 1, 0)
    assert not is_step(STEP_MS, 0)
