"""What the table of all keys of zoo.cfg says of one of them.

Imports nothing of zoolet.
"""

from enum import Enum
from typing import NamedTuple


class Use(Enum):
    """What the server does with a key."""

    SAME = "same"
    """It has Apache's meaning, but for what the note says."""
    OWN = "zoolet's own"
    """Apache 3.9.5 has no such key."""
    IGNORED = "ignored"
    """It changes nothing; the log gets a warning."""
    REFUSED = "refused"
    """The server does not start, unless the value is one of ``Key.harmless``."""


class Source(Enum):
    """Where Apache reads a key."""

    FILE = "zoo.cfg"
    """In zoo.cfg only. A malformed value refuses the start."""
    PROPERTY = "zookeeper.KEY"
    """The system property ``zookeeper.KEY``, which zoo.cfg sets. A malformed number is ignored."""
    BARE_PROPERTY = "KEY"
    """The system property ``KEY``. Apache does not read it in zoo.cfg, zoolet does."""


class Number(NamedTuple):
    """A whole number.

    Attributes:
        default: if the key is not set.
        least: a smaller number refuses the start; None: the smallest of its width.
        most: a greater number refuses the start; None: the greatest of its width.
        floor: a smaller number is taken as this one; None: it is taken as it is.
        is_long: whether it may have 64 bits and not 32.
        unit: of the number, as the page shows it.
    """

    default: int
    least: int | None = None
    most: int | None = None
    floor: int | None = None
    is_long: bool = False
    unit: str = ""

    def __str__(self) -> str:
        """Return the type and the range, as the page shows them."""
        parts = [self.unit or "number"]
        if self.least is not None:
            parts.append(f"at least {self.least:,}")
        if self.most is not None:
            parts.append(f"at most {self.most:,}")
        if self.floor is not None:
            parts.append(f"less is {self.floor:,}")
        return ", ".join(parts)


class Flag(NamedTuple):
    """True or false: ``true`` in any case is true, and everything else is false."""

    default: bool

    def __str__(self) -> str:
        """Return the type, as the page shows it."""
        return "`true` or `false`"


class Text(NamedTuple):
    """Any other value.

    Attributes:
        kind: of the text, as the page shows it.
        default: if the key is not set; empty: there is none.
    """

    kind: str
    default: str = ""

    def __str__(self) -> str:
        """Return the type, as the page shows it."""
        return self.kind


class Key(NamedTuple):
    """A key, or all keys with a prefix.

    Attributes:
        name: as it stands in zoo.cfg; of a prefix, with ``N`` or ``*`` at its end.
        use: what the server does with it.
        note: the reason, or what differs from Apache.
        source: where Apache reads it.
        harmless: the values, in lower case, with which a refused key does not stop the start.
        value: its type, range and default; None if the server does not read it.
        meaning: of a key that the server reads.
    """

    name: str
    use: Use
    note: str = ""
    source: Source = Source.PROPERTY
    harmless: frozenset[str] = frozenset({"false", ""})
    value: Number | Flag | Text | None = None
    meaning: str = ""
