"""The figures of one attack, and the rules that decide whether it failed. No I/O."""

import math
from collections.abc import Sequence
from typing import NamedTuple

MAX_P99_MS = 250.0
MAX_GROWTH_MB = 20.0
MAX_SERVER_LOG_MB = 1.0

KEPT_BYTES_PER_ZNODE = 400
"""What the server needs for a znode beside its path and data (make bench prints it)."""


class Data(NamedTuple):
    """How much a server stores, from its own mntr."""

    znodes: int
    size_bytes: int


class Memory(NamedTuple):
    """Resident memory of the server, in MB.

    Attributes:
        before_mb: before the attack.
        peak_mb: the most from then on.
        after_mb: after the settle time.
        stored_mb: how much of the growth is znodes that clients have created and not deleted.
    """

    before_mb: float
    peak_mb: float
    after_mb: float
    stored_mb: float = 0.0

    @property
    def growth_mb(self) -> float:
        """What the attack left behind, without the znodes that are stored."""
        return self.after_mb - self.before_mb - self.stored_mb


class Figures(NamedTuple):
    """What was measured during one attack.

    Attributes:
        longest_ms: the longest latency of the bystander's requests.
        p99_ms: the 99th percentile of those it sent during the attack.
        session_lives: whether the bystander still has its session and its ephemeral.
        memory: of the server.
        server_log_mb: what the server wrote to its log (not the transaction log).
        server_ended: how the server ended, if it did; empty if it still ran after the attack.
        may_end: whether the attack allows the server to end.
        restart_error: why the server did not start again; empty if it did.
        failures: what the attack itself found to be wrong.
    """

    longest_ms: float
    p99_ms: float
    session_lives: bool
    memory: Memory
    server_log_mb: float = 0.0
    server_ended: str = ""
    may_end: bool = False
    restart_error: str = ""
    failures: tuple[str, ...] = ()


def judge(figures: Figures) -> list[str]:
    """Return why the attack failed, one sentence per reason; empty if the server withstood it."""
    reasons = list(figures.failures)
    if figures.server_ended and not figures.may_end:
        reasons.append(f"the server ended: {figures.server_ended}")
    if not figures.server_ended:
        if not figures.session_lives:
            reasons.append("the bystander lost its session")
        if figures.p99_ms >= MAX_P99_MS:
            reasons.append(f"p99 is {figures.p99_ms:,.0f} ms")
        if figures.memory.growth_mb > MAX_GROWTH_MB:
            reasons.append(f"the server keeps {figures.memory.growth_mb:,.0f} MB more")
    if figures.server_log_mb > MAX_SERVER_LOG_MB:
        reasons.append(f"the server's log has {figures.server_log_mb:,.1f} MB")
    if figures.restart_error:
        reasons.append(f"no restart: {figures.restart_error}")
    return reasons


def stored_mb(before: Data, after: Data) -> float:
    """Return about how many MB the server needs for what was stored in between, at least 0."""
    znodes_bytes = (after.znodes - before.znodes) * KEPT_BYTES_PER_ZNODE
    return max(0.0, (znodes_bytes + after.size_bytes - before.size_bytes) / 1e6)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least ``percent`` of all values do not exceed.

    0 if there are no values.
    """
    if not values:
        return 0.0
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(0, rank - 1)]
