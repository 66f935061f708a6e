"""How often a server syncs its log, which shows that the writes that it acknowledges are durable.

A sync acknowledges at most the requests that are outstanding when it begins. A server with fewer
syncs than that has acknowledged writes that were not on disk.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.native import build

_FILE: Final = "syncs"
_BYTES: Final = 8
_MNTR: Final = "zk_cnt_fsynctime"


def preload(directory: Path) -> dict[str, str]:
    """Return the environment of a process whose syncs are counted in this directory."""
    counter = directory / _FILE
    counter.write_bytes(bytes(_BYTES))
    return {"LD_PRELOAD": str(build("syncs")), "SYNCS_FILE": str(counter)}


def preloaded(directory: Path) -> int:
    """Return the number of syncs of the process that was started with ``preload``."""
    return int.from_bytes((directory / _FILE).read_bytes(), "little")


def of_mntr(answer: Mapping[str, str]) -> int:
    """Return the number of syncs of a ZooKeeper server, from its answer to mntr."""
    return int(float(answer[_MNTR]))


def check(answered: float, outstanding: int, syncs: int) -> None:
    """Raise RuntimeError if writes were acknowledged that cannot have been on disk.

    Args:
        answered: the number of acknowledged writes.
        outstanding: the most requests that were outstanding at the same time.
        syncs: the number of syncs since before the first of the writes.
    """
    least = math.ceil(answered / outstanding)
    if syncs < least:
        raise RuntimeError(
            f"{answered:,.0f} writes were acknowledged, {outstanding} of them at the same time at"
            f" most: that takes {least:,} syncs, but there were {syncs:,}"
        )
