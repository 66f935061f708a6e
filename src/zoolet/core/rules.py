"""What an operator may set of the state machine's rules."""

from typing import NamedTuple

DEFAULT_MOST_EPHEMERALS = DEFAULT_MOST_WATCHES = 1_000_000


class Rules(NamedTuple):
    """The settings that decide what is refused.

    Attributes:
        allows_ttl: whether znodes may have a time to live (``extendedTypesEnabled``).
        enforces_quota: whether a write past a quota's hard limit is refused (``enforceQuota``).
        most_ephemerals: of one session (``zoolet.maxEphemeralsPerSession``); a create past that is
            refused with QUOTA_EXCEEDED.
        most_watches: of one connection (``zoolet.maxWatchesPerConnection``); a request that sets
            one more is refused with THROTTLED.
    """

    allows_ttl: bool = False
    enforces_quota: bool = False
    most_ephemerals: int = DEFAULT_MOST_EPHEMERALS
    most_watches: int = DEFAULT_MOST_WATCHES
