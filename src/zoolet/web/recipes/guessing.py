"""Which recipe a list of children may be. No I/O.

Names that only a recipe makes are enough: other names beside them are foreign. Names that other
programs may make too are a recipe only if all names are of this form; `recipe.py` checks the rest.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from zoolet.web.recipes.kinds import Kind, Library
from zoolet.web.recipes.names import (
    CONTENDERS,
    ENTRIES,
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

_STRUCTURES: Final = {
    frozenset({ENTRIES, TAKEN}): (Kind.LOCKING_QUEUE, Library.KAZOO_OR_ZOOLET),
    frozenset({LOCKS, LEASES}): (Kind.SEMAPHORE, Library.CURATOR),
    frozenset({LOCKS, PARTY}): (Kind.SET_PARTITIONER, Library.KAZOO_OR_ZOOLET),
}
"""The recipes whose children have fixed names."""


class Guess(NamedTuple):
    """What a list of children may be.

    Attributes:
        kind: the kind of recipe.
        libraries: the libraries whose names are in the list, in order.
        names: what the names say; without foreign names.
        num_foreign: the number of names that do not belong to the recipe.
    """

    kind: Kind
    libraries: tuple[Library, ...]
    names: tuple[Name, ...]
    num_foreign: int


def guess(names: Sequence[str], *, has_gate: bool = False) -> Guess | None:
    """Return which recipe the children of a znode may be; None if they are none.

    ``has_gate`` says whether the znode has the lock of a semaphore beside it.
    """
    all_names = frozenset(names)
    structure = _STRUCTURES.get(all_names)
    if structure is not None:
        return Guess(structure[0], (structure[1],), (), 0)
    found = [known for name in names if (known := name_of(name)) is not None]
    roles = Counter(known.role for known in found)
    if LEASE_HOLDER in all_names:
        waiting = _with(found, {Role.LOCK})
        if len(waiting) == len(names) - 1:
            return _guess(Kind.LEASE, waiting, len(names) - 1, Library.KAZOO)
        return None
    if has_gate and set(roles) <= {Role.HEX} and len(found) == len(names):
        return _guess(Kind.SEMAPHORE, found, len(names), Library.KAZOO_OR_ZOOLET)
    if roles[Role.LATCH] > sum(roles[role] for role in CONTENDERS - {Role.LATCH}):
        return _guess(Kind.LEADER_LATCH, _with(found, {Role.LATCH}), len(names))
    if roles[Role.READ] or roles[Role.WRITE]:
        contenders = _with(found, {Role.LOCK, Role.READ, Role.WRITE})
        return _guess(Kind.READ_WRITE_LOCK, contenders, len(names))
    if roles[Role.LOCK]:
        return _guess(Kind.LOCK, _with(found, {Role.LOCK}), len(names))
    if roles[Role.PARTY]:
        return _guess(Kind.PARTY, _with(found, {Role.PARTY}), len(names))
    return _weak(names, found, roles, has_ready=READY in all_names)


def _weak(
    names: Sequence[str], found: list[Name], roles: Counter[Role], *, has_ready: bool
) -> Guess | None:
    """Return which recipe a list may be whose names are no proof."""
    if not found or len(roles) != 1 or len(found) != len(names) - has_ready:
        return None
    role = found[0].role
    if role in {Role.HEX, Role.UUID}:
        return _guess(Kind.DOUBLE_BARRIER, found, len(found))
    if has_ready:
        return None
    if role is Role.ITEM and len({known.library for known in found}) == 1:
        return _guess(Kind.QUEUE, found, len(found))
    if role is Role.SHALLOW_PARTY:
        return _guess(Kind.PARTY, found, len(found))
    return None


def _with(found: list[Name], roles: set[Role]) -> list[Name]:
    return [known for known in found if known.role in roles]


def _guess(kind: Kind, found: list[Name], total: int, *more: Library) -> Guess:
    libraries = tuple(sorted({*more, *(known.library for known in found)}))
    return Guess(kind, libraries, tuple(found), total - len(found))
