"""The recipe that names, data and Stats describe together. No I/O.

`guessing.py` and `planning.py` have read the names. Here, the znodes of members prove a recipe, or
show that the names only look similar.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from zoolet.web.recipes.kinds import Kind, Library, State
from zoolet.web.recipes.names import ONCE, READY, Role, name_of
from zoolet.web.recipes.planning import Plan
from zoolet.web.recipes.recipe import REVOKED, Member, Recipe, Znode, session_of, text_of

_MOST_JSON_BYTES: Final = 64 << 10
_STAYS: Final = (
    "This znode is not ephemeral: it stays when the client ends, until somebody deletes it."
)
_REVOKED: Final = "Curator's Revoker has asked this client to release the lock."
_EPHEMERAL: Final = frozenset({Kind.LOCK, Kind.READ_WRITE_LOCK, Kind.LEADER_LATCH, Kind.SEMAPHORE})


def recipe_of(plan: Plan, znodes: Mapping[str, Znode], parent: bytes | None) -> Recipe | None:
    """Return a recipe; None if the znodes only have similar names.

    Args:
        plan: what the names say.
        znodes: the znodes of members that were read, by path; others are left out of ``members``.
        parent: the data of the recipe's own znode.
    """
    members = [
        _with(plan, member, znodes[member.path]) for member in plan.members if member.path in znodes
    ]
    match plan.kind:
        case Kind.DOUBLE_BARRIER:
            return _barrier(plan, members, znodes, parent)
        case Kind.PARTY if not plan.is_sure and not _are_ephemeral(members):
            return None
        case Kind.PARTY:
            return _recipe(replace(plan, is_sure=True), members)
        case Kind.QUEUE:
            return _queue(plan, members)
        case Kind.LEASE:
            return _lease(plan, members, znodes)
        case Kind.SEMAPHORE if Library.CURATOR in plan.libraries:
            return _recipe(*_without_gate(plan, members))
        case Kind.SEMAPHORE:
            return _recipe(replace(plan, facts=_leases(parent)), members)
    return _recipe(plan, members)


def counter_of(path: str, data: bytes | None) -> Recipe | None:
    """Return the counter of zoolet in a znode that has zoolet's markers beside it, or None."""
    text = text_of(data)
    try:
        float(text)
    except ValueError:
        return None
    facts = (("Value", text), ("Markers", f"{path}{ONCE}"))
    return Recipe(path, Kind.COUNTER, (Library.ZOOLET,), True, (), 0, 0, 0, facts)


def _with(plan: Plan, member: Member, znode: Znode) -> Member:
    """Return a member with what its znode contains."""
    stat, text = znode.stat, member.text or text_of(znode.data)
    if stat is None:
        return replace(member, note=znode.error)
    if plan.kind is Kind.SEMAPHORE and member.state is State.WAITS:
        text = _without_quotes(text)
    session, note = session_of(stat), znode.error
    if not session and plan.kind in _EPHEMERAL:
        note = _STAYS
    if znode.data == REVOKED:
        note = _REVOKED
    return replace(
        member,
        text=text,
        session=session,
        asked_ms=stat.ctime,
        czxid=stat.czxid,
        version=stat.version,
        note=note,
    )


def _without_quotes(text: str) -> str:
    """Return the identifier of a waiting client of a semaphore.

    kazoo's ``Semaphore`` gives bytes to its ``Lock``, which writes them as ``b'identifier'``.
    """
    if not text.startswith(("b'", 'b"')):
        return text
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return text_of(found) if isinstance(found, bytes) else text


def _recipe(plan: Plan, members: list[Member]) -> Recipe:
    """Return the recipe of a plan; ``members`` are those that were read."""
    states = [member.state for member in plan.members]
    num_holding = states.count(State.HOLDS)
    return Recipe(
        plan.path,
        plan.kind,
        plan.libraries,
        plan.is_sure,
        tuple(members),
        num_holding,
        states.count(State.WAITS),
        len(states) + plan.num_more,
        plan.facts,
        plan.notes,
    )


def _are_ephemeral(members: list[Member]) -> bool:
    return bool(members) and all(member.session for member in members)


def _queue(plan: Plan, members: list[Member]) -> Recipe | None:
    """Return a queue; ephemerals with the names of items say that consumers work on items."""
    owned = [member for member in members if member.session]
    if not owned:
        return _recipe(plan, members)
    if len(owned) < len(members):
        return None
    taken = [replace(member, state=State.HOLDS) for member in members]
    slots = tuple(replace(member, state=State.HOLDS) for member in plan.members)
    return _recipe(replace(plan, kind=Kind.ITEMS_IN_WORK, members=slots), taken)


def _lease(plan: Plan, members: list[Member], znodes: Mapping[str, Znode]) -> Recipe | None:
    """Return a lease of kazoo, if the data of its holder are those that kazoo writes."""
    if not members or members[0].path != plan.members[0].path:
        return None
    holder = members[0]
    found = _json(znodes[holder.path].data)
    who, end = found.get("holder"), found.get("end")
    if "version" not in found or not isinstance(who, str) or not isinstance(end, str):
        return None
    try:
        ends = datetime.fromisoformat(end).replace(tzinfo=UTC)
    except ValueError:
        return None
    shown = replace(holder, text=text_of(who.encode(errors="replace")))
    facts = (("Held until", f"{ends:%Y-%m-%d %H:%M:%S} UTC"),)
    return _recipe(replace(plan, facts=facts), [shown, *members[1:]])


def _leases(parent: bytes | None) -> tuple[tuple[str, str], ...]:
    number = text_of(parent)
    return (("Most leases", number if number.isdecimal() else "unknown"),)


def _without_gate(plan: Plan, members: list[Member]) -> tuple[Plan, list[Member]]:
    """Return a semaphore of Curator in which the newest lease waits, if it does.

    A client takes the lock, creates its lease, waits until there are not too many leases, and
    releases the lock. So the newest lease waits while the session that created it still has the
    lock. Curator writes the number of leases in no znode.
    """
    plan = replace(plan, facts=(("Most leases", "unknown: Curator stores it in no znode"),))
    held = [member for member in members if member.state is State.HOLDS]
    waiting = [member for member in members if member.state is State.WAITS]
    if not held or not waiting:
        return plan, members
    newest, gate = held[-1], waiting[0]
    is_newest = newest.czxid == max(member.czxid for member in held)
    if newest.session != gate.session or newest.czxid < gate.czxid or not is_newest:
        return plan, members
    slots = tuple(
        replace(slot, state=State.WAITS) if slot.path == newest.path else slot
        for slot in plan.members
        if slot.path != gate.path
    )
    waits = replace(newest, state=State.WAITS)
    return replace(plan, members=slots), [*held[:-1], waits, *waiting[1:]]


def _barrier(
    plan: Plan, members: list[Member], znodes: Mapping[str, Znode], parent: bytes | None
) -> Recipe | None:
    """Return a double barrier, a semaphore without its lock, or the instances of a service."""
    roles = {name.role for member in members if (name := name_of(member.name)) is not None}
    if roles == {Role.UUID}:
        service = _service(plan, members, znodes)
        if service is not None:
            return service
    if not _are_ephemeral(members):
        return None
    if roles == {Role.HEX} and not plan.has_ready and text_of(parent).isdecimal():
        held = [replace(member, state=State.HOLDS) for member in members]
        slots = tuple(replace(slot, state=State.HOLDS) for slot in plan.members)
        facts = _leases(parent)
        return _recipe(replace(plan, kind=Kind.SEMAPHORE, members=slots, facts=facts), held)
    if not plan.has_ready:
        is_like_kazoo = roles == {Role.HEX} and not parent
        is_like_curator = roles == {Role.UUID} and all(member.address for member in members)
        if not is_like_kazoo and not is_like_curator:
            return None
    ready = f"{READY} exists: all members have entered" if plan.has_ready else "members wait"
    return _recipe(replace(plan, facts=(("State", ready),)), members)


def _service(plan: Plan, members: list[Member], znodes: Mapping[str, Znode]) -> Recipe | None:
    """Return the instances of a service of Curator's discovery, which are JSON."""
    shown = []
    for member in members:
        found = _json(znodes[member.path].data)
        if found.get("id") != member.name or not {"serviceType", "name"} <= set(found):
            return None
        port = found.get("port") or found.get("sslPort")
        address = str(found.get("address"))
        text = address if port is None else f"{address}:{port}"
        text = text_of(text.encode(errors="replace"))
        shown.append(replace(member, text=text, state=State.MEMBER))
    slots = tuple(replace(slot, state=State.MEMBER) for slot in plan.members)
    new = replace(plan, kind=Kind.SERVICE, is_sure=True, members=slots)
    return _recipe(new, shown) if shown else None


def _json(data: bytes | None) -> dict[str, Any]:
    """Return a JSON object; an empty one for other data."""
    if not data or len(data) > _MOST_JSON_BYTES:
        return {}
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
