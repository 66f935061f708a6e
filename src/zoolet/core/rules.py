"""What an operator may set of the state machine's rules."""

from typing import NamedTuple


class Rules(NamedTuple):
    """The settings that decide what is refused.

    Attributes:
        allows_ttl: whether znodes may have a time to live (``extendedTypesEnabled``).
        enforces_quota: whether a write past a quota's hard limit is refused (``enforceQuota``).
    """

    allows_ttl: bool = False
    enforces_quota: bool = False
