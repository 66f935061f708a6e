"""The type of an entry in the table of all zoo.cfg keys.

This module does not depend on other modules of zoolet.
"""

from enum import Enum
from typing import NamedTuple


class Use(Enum):
    """How the server uses a key."""

    SAME = "same"
    """The key has the same meaning as in Apache, except for the differences in its note."""
    OWN = "zoolet's own"
    """The key does not exist in Apache 3.9.5."""
    IGNORED = "ignored"
    """The key has no effect; the server logs a warning."""
    REFUSED = "refused"
    """The server refuses to start, unless the value is one of ``Key.harmless``."""


class Source(Enum):
    """The place where Apache reads a key."""

    FILE = "zoo.cfg"
    """Apache reads the key only in zoo.cfg. With a malformed value the server refuses to start."""
    PROPERTY = "zookeeper.KEY"
    """Apache reads the system property ``zookeeper.KEY``, which zoo.cfg sets.

    A malformed number is ignored.
    """
    BARE_PROPERTY = "KEY"
    """Apache reads only the system property ``KEY``; zoolet reads the key in zoo.cfg too."""


class Number(NamedTuple):
    """The type of a key whose value is a whole number.

    Attributes:
        default: the value if the key is not set.
        least: the least value, below which the server refuses to start; None means the least
            value of the width.
        most: the greatest value, above which the server refuses to start; None means the greatest
            value of the width.
        floor: the value that replaces smaller ones; None means that no value is replaced.
        is_long: whether the number has 64 bits; otherwise it has 32.
        unit: the unit, as docs/compatibility.md shows it.
    """

    default: int
    least: int | None = None
    most: int | None = None
    floor: int | None = None
    is_long: bool = False
    unit: str = ""

    def __str__(self) -> str:
        """Return the type and the range, as docs/compatibility.md shows them."""
        parts = [self.unit or "number"]
        if self.least is not None:
            parts.append(f"at least {self.least:,}")
        if self.most is not None:
            parts.append(f"at most {self.most:,}")
        if self.floor is not None:
            parts.append(f"less is {self.floor:,}")
        return ", ".join(parts)


class Flag(NamedTuple):
    """The type of a key that is true or false.

    The value ``true``, in upper or lower case, is true; every other value is false.
    """

    default: bool

    def __str__(self) -> str:
        """Return the type, as docs/compatibility.md shows it."""
        return "`true` or `false`"


class Text(NamedTuple):
    """The type of a key with any other value.

    Attributes:
        kind: the description of the value, as docs/compatibility.md shows it.
        default: the value if the key is not set; "" means that there is no default.
    """

    kind: str
    default: str = ""

    def __str__(self) -> str:
        """Return the type, as docs/compatibility.md shows it."""
        return self.kind


class Key(NamedTuple):
    """A key of zoo.cfg, or all keys with a common prefix.

    Attributes:
        name: the name in zoo.cfg; for a prefix, it ends with ``N`` or ``*``.
        use: how the server uses the key.
        note: the reason why the key is ignored or refused, or the difference from Apache.
        source: the place where Apache reads the key.
        harmless: the values, in lower case, with which the server starts although the key is
            refused.
        value: the type, the range and the default; None if the server does not read the key.
        meaning: the meaning of the key; "" if the server does not read the key.
    """

    name: str
    use: Use
    note: str = ""
    source: Source = Source.PROPERTY
    harmless: frozenset[str] = frozenset({"false", ""})
    value: Number | Flag | Text | None = None
    meaning: str = ""
