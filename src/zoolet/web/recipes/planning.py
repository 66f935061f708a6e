"""The members of a recipe and their order, from lists of children only. No I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from zoolet.model import paths
from zoolet.web.recipes.guessing import Guess
from zoolet.web.recipes.kinds import Kind, Library, State
from zoolet.web.recipes.names import (
    ENTRIES,
    GATE,
    LEASE_HOLDER,
    LEASES,
    LOCKS,
    PARTY,
    READY,
    TAKEN,
    Name,
    Role,
    name_of,
)
from zoolet.web.recipes.order import has_overflowed, in_order, num_holding
from zoolet.web.recipes.recipe import Member

MOST_ITEMS: Final = 200
"""Most items of a set partitioner whose locks are listed."""

PARTIAL: Final = frozenset({Kind.QUEUE, Kind.LOCKING_QUEUE})
"""The kinds that the page shows from the first names of a list."""

_ROLES: Final = {Role.READ: "reader", Role.WRITE: "writer"}


class Listing(NamedTuple):
    """The children of a znode.

    Attributes:
        names: the names, or the first ones in order.
        total: the number of all names.
    """

    names: tuple[str, ...]
    total: int


Lists = Mapping[str, Listing]
"""Lists of children by path; a missing znode has an empty list."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the lists say about a recipe.

    Attributes:
        path: the path of the recipe.
        kind: the kind.
        libraries: the libraries of its names.
        is_sure: whether the names are enough.
        members: all members, without what their znodes contain.
        num_more: the number of items that are not in ``members``.
        has_ready: whether a double barrier has its znode ``ready``.
        facts: what the page shows of the recipe itself.
        notes: what a user must know.
    """

    path: str
    kind: Kind
    libraries: tuple[Library, ...]
    is_sure: bool
    members: tuple[Member, ...]
    num_more: int = 0
    has_ready: bool = False
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def places(found: Guess, path: str) -> tuple[str, ...]:
    """Return the znodes whose children `planned` needs, beside those of ``path``."""
    if found.kind is Kind.SEMAPHORE and Library.CURATOR not in found.libraries:
        return (f"{path}{GATE}",)
    names = {
        Kind.SEMAPHORE: (LOCKS, LEASES),
        Kind.LOCKING_QUEUE: (ENTRIES, TAKEN),
        Kind.SET_PARTITIONER: (PARTY, LOCKS),
    }.get(found.kind, ())
    return tuple(paths.join(path, name) for name in names)


def more_places(found: Guess, path: str, lists: Lists) -> tuple[str, ...]:
    """Return the znodes whose children `planned` needs too, when the first lists are known."""
    if found.kind is not Kind.SET_PARTITIONER:
        return ()
    parent = paths.join(path, LOCKS)
    return tuple(paths.join(parent, item) for item in lists[parent].names[:MOST_ITEMS])


def planned(found: Guess, path: str, lists: Lists) -> Plan | None:
    """Return the members of a recipe; None if the other lists contradict the guess.

    Args:
        found: what the children of ``path`` may be.
        path: the path of the recipe.
        lists: the children of ``path``, of `places` and of `more_places`.
    """
    match found.kind:
        case Kind.SEMAPHORE if Library.CURATOR in found.libraries:
            return _curator_semaphore(path, lists)
        case Kind.SEMAPHORE:
            return _semaphore(found, path, lists)
        case Kind.LOCKING_QUEUE:
            return _locking_queue(path, lists)
        case Kind.SET_PARTITIONER:
            return _partitioner(path, lists)
        case Kind.QUEUE:
            items = [_member(path, known, State.ITEM) for known in in_queue_order(found.names)]
            more = lists[path].total - len(found.names)
            return Plan(path, found.kind, found.libraries, True, tuple(items), more)
        case Kind.PARTY | Kind.DOUBLE_BARRIER:
            return _gathering(found, path, lists)
        case Kind.LEASE:
            holder = Member(paths.join(path, LEASE_HOLDER), State.HOLDS, Library.KAZOO)
            waiting = _contenders(path, found.names, num_first=0)
            return Plan(path, found.kind, found.libraries, True, (holder, *waiting))
    members = _contenders(path, found.names)
    return Plan(path, found.kind, found.libraries, True, tuple(members), notes=_lock_notes(found))


def in_queue_order(names: Iterable[Name]) -> list[Name]:
    """Return items in the order in which consumers take them.

    kazoo, zoolet and Curator's queues sort by the name. Curator's ``DistributedDelayQueue`` sorts
    by the time, and its ``DistributedIdQueue`` by the sequence number.
    """

    def key(known: Name) -> tuple[int, str]:
        if known.due_ms is not None:
            return known.due_ms, known.name
        return 0, known.digits if known.label else known.name

    return sorted(names, key=key)


def _contenders(path: str, names: Iterable[Name], num_first: int | None = None) -> list[Member]:
    """Return the contenders of a lock; ``num_first`` is the number of holders, if it is known."""
    ordered = in_order(names)
    first = num_holding(ordered) if num_first is None else num_first
    return [
        _member(path, known, State.HOLDS if at < first else State.WAITS)
        for at, known in enumerate(ordered)
    ]


def _member(parent: str, known: Name, state: State, role: str = "") -> Member:
    return Member(
        path=paths.join(parent, known.name),
        state=state,
        library=known.library,
        role=role or _ROLES.get(known.role, ""),
        sequence=known.sequence if known.digits else None,
        priority=known.priority,
        due_ms=known.due_ms,
        text=known.label,
    )


def _lock_notes(found: Guess) -> tuple[str, ...]:
    notes = []
    if has_overflowed(found.names):
        notes.append(
            "The sequence numbers have passed 2147483647 and are negative. kazoo and Curator sort"
            " them as text, zoolet as numbers, so clients may disagree about the order."
        )
    own = {Library.KAZOO, Library.ZOOLET} & set(found.libraries)
    if own and own != set(found.libraries):
        notes.append(
            "Several libraries use this lock. kazoo waits for the others only with"
            ' extra_lock_patterns=["lock-"], and Curator does not know the names of kazoo, so two'
            " clients may hold the lock at the same time."
        )
    if found.num_foreign:
        notes.append(f"{found.num_foreign:,} other children do not belong to it.")
    return tuple(notes)


def _names(listing: Listing, roles: set[Role], library: Library | None = None) -> list[Name] | None:
    """Return what the names of a list say; None if one has another role or library."""
    found = []
    for name in listing.names:
        known = name_of(name)
        if known is None or known.role not in roles:
            return None
        if library is not None and known.library is not library:
            return None
        found.append(known)
    return found


def _semaphore(found: Guess, path: str, lists: Lists) -> Plan | None:
    gate = f"{path}{GATE}"
    waiting = _names(lists[gate], {Role.LOCK})
    if waiting is None:
        return None
    held = [_member(path, known, State.HOLDS) for known in found.names]
    members = (*held, *_contenders(gate, waiting, num_first=0))
    libraries = tuple(sorted({known.library for known in waiting})) or found.libraries
    return Plan(path, Kind.SEMAPHORE, libraries, True, members)


def _curator_semaphore(path: str, lists: Lists) -> Plan | None:
    locks, leases = paths.join(path, LOCKS), paths.join(path, LEASES)
    waiting = _names(lists[locks], {Role.LOCK}, Library.CURATOR)
    held = _names(lists[leases], {Role.LEASE}, Library.CURATOR)
    if waiting is None or held is None:
        return None
    members = [_member(leases, known, State.HOLDS) for known in in_order(held)]
    members += _contenders(locks, waiting, num_first=0)
    is_sure = bool(members)
    return Plan(path, Kind.SEMAPHORE, (Library.CURATOR,), is_sure, tuple(members))


def _locking_queue(path: str, lists: Lists) -> Plan | None:
    entries, taken = paths.join(path, ENTRIES), paths.join(path, TAKEN)
    library = Library.KAZOO_OR_ZOOLET
    items = _names(lists[entries], {Role.ITEM}, library)
    in_work = _names(lists[taken], {Role.ITEM}, library)
    if items is None or in_work is None:
        return None
    taken_names = {known.name for known in in_work}
    waiting = [known for known in in_queue_order(items) if known.name not in taken_names]
    members = [_member(taken, known, State.HOLDS) for known in in_queue_order(in_work)]
    members += [_member(entries, known, State.ITEM) for known in waiting]
    is_sure = bool(members)
    num_more = max(0, lists[entries].total - len(members))
    return Plan(path, Kind.LOCKING_QUEUE, (library,), is_sure, tuple(members), num_more)


def _partitioner(path: str, lists: Lists) -> Plan | None:
    party, locks = paths.join(path, PARTY), paths.join(path, LOCKS)
    present = _names(lists[party], {Role.SHALLOW_PARTY})
    if present is None:
        return None
    held: list[Member] = []
    waiting: list[Member] = []
    for item in lists[locks].names[:MOST_ITEMS]:
        place = paths.join(locks, item)
        contenders = _names(lists[place], {Role.LOCK})
        if contenders is None:
            return None
        for at, known in enumerate(in_order(contenders)):
            state = State.WAITS if at else State.HOLDS
            (waiting if at else held).append(_member(place, known, state, f"item {item}"))
    members = [_member(party, known, State.MEMBER) for known in present]
    more = lists[locks].total - MOST_ITEMS
    notes = (f"The locks of {more:,} more items are not shown.",) if more > 0 else ()
    return Plan(
        path,
        Kind.SET_PARTITIONER,
        (Library.KAZOO_OR_ZOOLET,),
        bool(members or held),
        (*held, *waiting, *members),
        facts=(("Items", f"{lists[locks].total:,}"), ("Members", f"{len(members):,}")),
        notes=notes,
    )


def _gathering(found: Guess, path: str, lists: Lists) -> Plan:
    """Return the plan of a party or a double barrier."""
    has_ready = READY in lists[path].names
    state = State.MEMBER
    if found.kind is Kind.DOUBLE_BARRIER:
        state = State.MEMBER if has_ready else State.WAITS
    is_sure = has_ready or any(known.role is Role.PARTY for known in found.names)
    members = [_member(path, known, state) for known in found.names]
    return Plan(path, found.kind, found.libraries, is_sure, tuple(members), has_ready=has_ready)
