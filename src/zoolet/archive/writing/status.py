"""What an archiver reports: its figures, and a line in the log at each change of its state."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

log = logging.getLogger("zoolet.archive")

_ZXID_COUNTER: Final = (1 << 32) - 1


class State(Enum):
    """The state of an archiver."""

    STARTING = "starting"
    WAITING = "waiting for the server's data"
    ARCHIVING = "archiving"
    STORE_FAILS = "the store fails"
    STOPPED = "stopped"


@dataclass
class Status:
    """The figures of an archiver; each is written by one thread.

    Attributes:
        state: the state.
        timeline: the number of the timeline that is written; 0 before the first one.
        archived_zxid: the last archived zxid.
        archived_ms: the time of this txn, in ms since the epoch.
        waiting_since_ms: the time of the oldest txn that is not archived; 0 if there is none.
        waiting_txns: the number of txns that wait, at the last look.
        errors: the number of failed requests to the store.
        gaps: the number of gaps that this process has recorded.
        snapshots: the number of snapshots that this process has archived.
        segments: the number of segments that this process has archived.
        is_complete: with ``--once``, whether everything is archived.
        uploaded_bytes: returns the number of uploaded bytes.
        followed_s: when the archiver had the newest state of the server for the last time, or when
            it began; by the monotonic clock.
    """

    state: State = State.STARTING
    timeline: int = 0
    archived_zxid: int = 0
    archived_ms: int = 0
    waiting_since_ms: int = 0
    waiting_txns: int = 0
    errors: int = 0
    gaps: int = 0
    snapshots: int = 0
    segments: int = 0
    is_complete: bool = False
    uploaded_bytes: Callable[[], int] = field(default=lambda: 0)
    followed_s: float = field(default_factory=time.monotonic)

    def change(self, state: State, detail: str = "") -> None:
        """Use another state, and log the change."""
        if state is self.state:
            return
        self.state = state
        level = logging.WARNING if state is State.STORE_FAILS else logging.INFO
        log.log(
            level,
            "%s%s (timeline %d, archived up to zxid 0x%x)",
            state.value,
            f": {detail}" if detail else "",
            self.timeline,
            self.archived_zxid,
        )

    def lag_s(self) -> float:
        """Return the age of the oldest txn that is not archived, in s; 0 if there is none.

        While the archiver does not follow the server, there may be such txns since then.
        """
        lag_s = 0.0
        if self.waiting_since_ms:
            lag_s = time.time() - self.waiting_since_ms / 1000
        if self.state in {State.STARTING, State.WAITING}:
            lag_s = max(lag_s, time.monotonic() - self.followed_s)
        return max(0.0, lag_s)
