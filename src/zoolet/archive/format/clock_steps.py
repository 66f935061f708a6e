"""Where the clock of a server was set back. No I/O.

Invariant of an archive: no segment has txns from before and after such a step. So the times of the
first and the last txn, which are in the name of a segment, are the limits of all its times.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from zoolet.archive.format.log_records import EncodedTxn

STEP_MS: Final = 60_000
"""Smaller differences are normal: a new leader has another clock."""


def is_step(before_ms: int, after_ms: int) -> bool:
    """Return whether the clock was set back between two txns."""
    return after_ms < before_ms - STEP_MS


class Span(NamedTuple):
    """Adjacent txns without a step between them.

    Attributes:
        first_ms: the time of the first one.
        last_ms: the time of the last one.
        after_zxid: the txn before the first one.
    """

    first_ms: int
    last_ms: int
    after_zxid: int


class Doubt(NamedTuple):
    """Txns whose true times are not known; ``until_zxid`` is None if there are no later txns."""

    after_zxid: int
    until_zxid: int | None


def doubt_about(spans: Iterable[Span], time_ms: int) -> Doubt | None:
    """Return the txns that may have been made before or after a time; None if there are none.

    If the clock is set back, it has some times twice, until it is later than ever before. It is not
    known which of both were the true times.
    """
    greatest_ms = 0
    least_ms: int | None = None
    begin_zxid = 0
    for first_ms, last_ms, after_zxid in spans:
        if least_ms is None and is_step(greatest_ms, first_ms):
            least_ms, begin_zxid = first_ms, after_zxid
        if least_ms is not None:
            least_ms = min(least_ms, first_ms)
            if last_ms > greatest_ms:
                is_mixed = first_ms <= greatest_ms
                if least_ms <= time_ms < (last_ms if is_mixed else first_ms):
                    return Doubt(begin_zxid, None if is_mixed else after_zxid)
                least_ms = None
        greatest_ms = max(greatest_ms, last_ms)
    if least_ms is not None and least_ms <= time_ms <= greatest_ms:
        return Doubt(begin_zxid, None)
    return None


def doubt_text(found: Doubt) -> str:
    """Return the message for a time in doubt."""
    until = "" if found.until_zxid is None else f" up to 0x{found.until_zxid:x}"
    return (
        f"the clock of the server was set back: txns after zxid 0x{found.after_zxid:x}{until} may"
        " have been made before or after this time. Give a zxid. To see the txns and their times,"
        " run: zoolet data history"
    )


def split_at_steps(txns: Sequence[EncodedTxn]) -> Iterator[list[EncodedTxn]]:
    """Yield the parts between the steps; a part is never empty."""
    part: list[EncodedTxn] = []
    greatest_ms = 0
    for txn in txns:
        if part and is_step(greatest_ms, txn.time_ms):
            yield part
            part, greatest_ms = [], 0
        part.append(txn)
        greatest_ms = max(greatest_ms, txn.time_ms)
    if part:
        yield part
