"""The text of a quota's limits and statistics, which are znodes below ``/zookeeper/quota``.

Both have the form ``count=1,bytes=2``; hard limits follow: ``count=1,bytes=2=;byteHardLimit=4``. -1
means no limit. Source: ``StatsTrack`` of Apache ZooKeeper.
"""

import re
from typing import Final

LIMITS_NAME: Final = "zookeeper_limits"
STATS_NAME: Final = "zookeeper_stats"

COUNT: Final = "count"
BYTES: Final = "bytes"
HARD_COUNT: Final = "countHardLimit"
HARD_BYTES: Final = "byteHardLimit"
UNLIMITED: Final = -1

_MAX_TEXT_BYTES: Final = 1024
"""Later bytes in a quota's znode are ignored, so that a client cannot make the parsing slow."""
_PAIRS = re.compile("[,;]+")
_NUMBER = re.compile("[+-]?[0-9]{1,19}")


def parse_quota(data: bytes) -> dict[str, int]:
    """Return the numbers in the text of a quota; invalid parts are ignored."""
    values: dict[str, int] = {}
    for pair in _PAIRS.split(data[:_MAX_TEXT_BYTES].decode("utf-8", "replace")):
        key, *rest = pair.split("=")
        if rest and _NUMBER.fullmatch(rest[0]):
            values[key] = int(rest[0])
    return values


def format_quota(values: dict[str, int]) -> bytes:
    """Return the text of a quota: count and bytes, then ``=``, at which old parsers stop."""
    others = sorted(values.keys() - {COUNT, BYTES})
    text = f"count={values.get(COUNT, UNLIMITED)},bytes={values.get(BYTES, UNLIMITED)}"
    if others:
        text += "=" + "".join(f";{key}={values[key]}" for key in others)
    return text.encode()
