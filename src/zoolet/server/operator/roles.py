"""The roles of operators: the users of the admin endpoint and the metrics."""

import enum
from typing import Final


class Role(enum.IntEnum):
    """What an operator may do; a greater role includes the smaller one."""

    READ_ONLY = 1
    FULL = 2


ROLES: Final = {"read-only": Role.READ_ONLY, "full": Role.FULL}
"""The roles by their names."""
