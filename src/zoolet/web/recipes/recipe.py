"""The values of a recipe: what the page shows. No I/O."""

import ipaddress
from dataclasses import dataclass
from typing import Final, NamedTuple

from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.stat import Stat
from zoolet.web.recipes.kinds import BREAKABLE, Kind, Library, State

MOST_CHARACTERS: Final = 200
"""Most characters that the page shows of an identifier or of an item."""

REVOKED: Final = b"__REVOKE__"
"""The data with which Curator's ``Revoker`` asks a holder to release a lock."""


class Znode(NamedTuple):
    """What was read of a znode.

    Attributes:
        data: its data; None if it has none, or if the user may not read it.
        stat: its Stat; None if the user may not read it.
        error: why it cannot be read; "" if it can.
    """

    data: bytes | None
    stat: Stat | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A client that takes part in a recipe, or an item of a queue.

    Attributes:
        path: its znode.
        state: what it does.
        library: the library that has made the name.
        role: "reader" or "writer", the item of a set partitioner, or "".
        sequence: the sequence number of the name; None if it has none.
        priority: the priority of an item; None if it has none.
        due_ms: when a consumer may take an item, in ms since 1970; None for at once.
        text: the identifier in the data or in the name, or the value of an item; it is cut.
        session: the session that owns the znode; 0 if it is not an ephemeral.
        asked_ms: when the znode was created, in ms since 1970: the client has asked for its turn.
        czxid: the zxid of the creation of the znode.
        version: the version of its data.
        note: what a user must know about this member; "" for nothing.
    """

    path: str
    state: State
    library: Library
    role: str = ""
    sequence: int | None = None
    priority: int | None = None
    due_ms: int | None = None
    text: str = ""
    session: int = 0
    asked_ms: int = 0
    czxid: int = 0
    version: int = 0
    note: str = ""

    @property
    def name(self) -> str:
        """The name of the znode."""
        return self.path.rpartition("/")[2]

    @property
    def address(self) -> str:
        """The address of the client, if its data are one, as Curator's default is; or ""."""
        try:
            return str(ipaddress.ip_address(self.text))
        except ValueError:
            return ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe as the page shows it.

    Attributes:
        path: the path that programs give to the recipe.
        kind: the kind of recipe.
        libraries: the libraries of its names.
        is_sure: False if other programs may make such znodes too.
        members: those whose znodes were read: holders first, then others in their order.
        num_holding: the number of members that hold it, also of those that were not read.
        num_waiting: the number that wait.
        num_members: the number of all members and items.
        facts: names and values of the recipe itself, as text.
        notes: what a user must know.
    """

    path: str
    kind: Kind
    libraries: tuple[Library, ...]
    is_sure: bool
    members: tuple[Member, ...]
    num_holding: int
    num_waiting: int
    num_members: int
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def holders(self) -> tuple[Member, ...]:
        """The members that hold it."""
        return tuple(member for member in self.members if member.state is State.HOLDS)

    @property
    def waiting(self) -> tuple[Member, ...]:
        """The members that wait, in the order in which they get their turn."""
        return tuple(member for member in self.members if member.state is State.WAITS)

    @property
    def is_breakable(self) -> bool:
        """Whether the deletion of a holder lets others go on."""
        return self.kind in BREAKABLE

    def holder_of(self, path: str) -> Member | None:
        """Return the holder with this znode, if there is one."""
        return next((holder for holder in self.holders if holder.path == path), None)

    @property
    def title(self) -> str:
        """The kind and the libraries as text, as in "lock or election of kazoo"."""
        libraries = " and ".join(self.libraries)
        return f"{'' if self.is_sure else 'probably a '}{self.kind} of {libraries}"


def text_of(data: bytes | None) -> str:
    """Return data as text, or as hex if it is not UTF-8; not more than the page shows."""
    shown = (data or b"")[: 4 * MOST_CHARACTERS]
    try:
        text = shown.decode()
    except UnicodeDecodeError as error:
        is_cut = len(data or b"") > len(shown) and error.start >= len(shown) - 3
        text = shown[: error.start].decode() if is_cut else f"0x{shown.hex()}"
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def session_of(stat: Stat) -> int:
    """Return the session that owns a znode; 0 if it is not an ephemeral."""
    owner = stat.ephemeral_owner
    return owner if OwnerKind.of(owner) is OwnerKind.SESSION else 0
