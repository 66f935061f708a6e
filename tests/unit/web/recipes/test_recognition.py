"""Recipes that names, data and Stats describe, and znodes that only look similar."""

import json
import uuid

import pytest

from zoolet.model.owner_kinds import CONTAINER_OWNER
from zoolet.model.stat import Stat
from zoolet.web.recipes.guessing import guess
from zoolet.web.recipes.kinds import Kind, Library
from zoolet.web.recipes.planning import Listing, Lists, planned
from zoolet.web.recipes.recipe import MOST_CHARACTERS, Recipe, Znode, session_of, text_of
from zoolet.web.recipes.recognition import counter_of, recipe_of

SESSION = 0x1234
HEXES = [uuid.UUID(int=number).hex for number in range(1, 9)]
UUIDS = [str(uuid.UUID(int=number)) for number in range(1, 9)]


def znode(data: bytes | None = b"", owner: int = SESSION, czxid: int = 1) -> Znode:
    return Znode(data, Stat(czxid, 1, 1000, 1000, 0, 0, 0, owner, len(data or b""), 0, 1))


def seen(
    znodes: dict[str, Znode],
    parent: bytes | None = b"",
    *,
    has_gate: bool = False,
    more: Lists | None = None,
) -> Recipe | None:
    """Return the recipe of children of ``/r``."""
    names = tuple(sorted({path.split("/")[2] for path in znodes if path.startswith("/r/")}))
    found = guess(names, has_gate=has_gate)
    if found is None:
        return None
    plan = planned(found, "/r", {"/r": Listing(names, len(names)), **(more or {})})
    return None if plan is None else recipe_of(plan, znodes, parent)


def below(names: list[str], **more: object) -> dict[str, Znode]:
    return {f"/r/{name}": znode(**more) for name in names}  # type: ignore[arg-type]


def test_a_lock_shows_its_holder_and_its_waiter() -> None:
    first, second = f"{HEXES[0]}__lock__0000000001", f"_c_{UUIDS[0]}-__lock__0000000002"
    found = seen({f"/r/{second}": znode(b"bob"), f"/r/{first}": znode(b"ann"), "/r/x": znode()})
    assert found is not None
    assert found.title == "lock or election of kazoo and zoolet"
    assert [member.text for member in found.holders] == ["ann"]
    assert [member.text for member in found.waiting] == ["bob"]
    assert found.holders[0].session == SESSION
    assert (found.num_holding, found.num_waiting) == (1, 1)
    assert found.notes == ("1 other children do not belong to it.",)


def test_contenders_that_stay_and_contenders_that_were_asked_to_leave_have_a_note() -> None:
    names = [f"_c_{UUIDS[0]}-lock-0000000001", f"_c_{UUIDS[1]}-lock-0000000002"]
    found = seen(
        {f"/r/{names[0]}": znode(b"__REVOKE__"), f"/r/{names[1]}": znode(b"10.0.0.1", owner=0)}
    )
    assert found is not None
    assert "Revoker" in found.members[0].note
    assert "not ephemeral" in found.members[1].note
    assert found.members[1].address == "10.0.0.1"


def test_a_lock_of_kazoo_and_curator_warns() -> None:
    names = [f"{HEXES[0]}__lock__0000000001", f"_c_{UUIDS[0]}-lock-0000000002"]
    found = seen(below(names))
    assert found is not None
    assert found.libraries == (Library.CURATOR, Library.KAZOO)
    assert "extra_lock_patterns" in found.notes[0]


def test_a_latch_wins_over_a_few_locks() -> None:
    latches = [f"_c_{name}-latch-{at:010d}" for at, name in enumerate(UUIDS[:3])]
    found = seen(below([*latches, f"{HEXES[0]}__lock__0000000001"]))
    assert found is not None
    assert (found.kind, found.num_holding, found.num_waiting) == (Kind.LEADER_LATCH, 1, 2)


def test_a_semaphore_of_kazoo() -> None:
    waiter = f"{HEXES[5]}__lock__0000000009"
    lists = {"/r-__lock__": Listing((waiter,), 1)}
    znodes = {**below(HEXES[:2]), f"/r-__lock__/{waiter}": znode(b"b'third'")}
    found = seen(znodes, b"2", has_gate=True, more=lists)
    assert found is not None
    assert (found.kind, found.num_holding, found.num_waiting) == (Kind.SEMAPHORE, 2, 1)
    assert found.facts == (("Most leases", "2"),)
    assert found.waiting[0].text == "third"
    foreign = {"/r-__lock__": Listing(("x",), 1)}
    assert seen(znodes, b"2", has_gate=True, more=foreign) is None


def curators_semaphore(gate_czxid: int, gate_session: int) -> Recipe | None:
    leases = [f"_c_{name}-lease-{at:010d}" for at, name in enumerate(UUIDS[:2])]
    gate = f"_c_{UUIDS[3]}-lock-0000000007"
    znodes = {
        f"/r/leases/{leases[0]}": znode(czxid=10),
        f"/r/leases/{leases[1]}": znode(czxid=20, owner=7),
        f"/r/locks/{gate}": znode(czxid=gate_czxid, owner=gate_session),
    }
    lists = {"/r/leases": Listing(tuple(leases), 2), "/r/locks": Listing((gate,), 1)}
    return seen(znodes, more=lists)


@pytest.mark.parametrize(
    ("czxid", "session", "numbers"), [(15, 7, (1, 1)), (15, 8, (2, 1)), (25, 7, (2, 1))]
)
def test_the_newest_lease_of_curator_waits_while_its_session_has_the_lock(
    czxid: int, session: int, numbers: tuple[int, int]
) -> None:
    found = curators_semaphore(czxid, session)
    assert found is not None
    assert (found.num_holding, found.num_waiting) == numbers
    assert (len(found.holders), len(found.waiting)) == numbers


def test_a_double_barrier_waits_until_it_is_ready() -> None:
    waiting = seen(below(HEXES[:2], data=b"host-17"))
    assert waiting is not None
    assert (waiting.kind, waiting.is_sure, waiting.num_waiting) == (Kind.DOUBLE_BARRIER, False, 2)
    entered = seen({**below(HEXES[:2]), "/r/ready": znode(owner=0)})
    assert entered is not None
    assert (entered.is_sure, entered.num_waiting, entered.num_members) == (True, 0, 2)
    curator = seen(below(UUIDS[:2], data=b"192.168.0.7"))
    assert curator is not None
    assert curator.title == "probably a double barrier of Curator"


def test_a_party_of_kazoo() -> None:
    found = seen(below([f"{HEXES[0]}__party__"], data=b"ann"))
    assert found is not None
    assert (found.kind, found.members[0].text) == (Kind.PARTY, "ann")
    shallow = seen(below([f"{HEXES[0]}-bob", f"{HEXES[1]}-zoe"]))
    assert shallow is not None
    assert [member.text for member in shallow.members] == ["bob", "zoe"]


def test_a_set_partitioner() -> None:
    members = (f"{HEXES[0]}-ann", f"{HEXES[1]}-bob")
    lock = f"{HEXES[2]}__lock__0000000000"
    lists = {
        "/r/party": Listing(members, 2),
        "/r/locks": Listing(("east",), 1),
        "/r/locks/east": Listing((lock,), 1),
    }
    paths = [f"/r/party/{name}" for name in members]
    znodes = {path: znode() for path in paths} | {f"/r/locks/east/{lock}": znode(b"ann")}
    found = seen(znodes, more=lists)
    assert found is not None
    assert found.kind is Kind.SET_PARTITIONER
    assert [(member.role, member.text) for member in found.holders] == [("item east", "ann")]
    assert found.facts == (("Items", "1"), ("Members", "2"))
    assert seen(znodes, more={**lists, "/r/party": Listing(("x",), 1)}) is None
    assert seen(znodes, more={**lists, "/r/locks/east": Listing(("x",), 1)}) is None


def test_a_locking_queue() -> None:
    items = tuple(f"entry-100-{number:010d}" for number in range(3))
    lists = {"/r/entries": Listing(items, 3), "/r/taken": Listing(items[1:2], 1)}
    znodes = {f"/r/taken/{items[1]}": znode(), f"/r/entries/{items[0]}": znode(b"v", owner=0)}
    found = seen(znodes, more=lists)
    assert found is not None
    assert (found.kind, found.num_holding, found.num_members) == (Kind.LOCKING_QUEUE, 1, 3)
    assert found.holders[0].sequence == 1
    assert seen(znodes, more={**lists, "/r/entries": Listing(("x",), 1)}) is None


def test_items_are_not_ephemeral() -> None:
    names = ["queue-0000000001", "queue-0000000002"]
    found = seen(below(names, owner=0, data=b"v"))
    assert found is not None
    assert (found.kind, found.num_members) == (Kind.QUEUE, 2)
    taken = seen(below(names))
    assert taken is not None
    assert (taken.kind, taken.num_holding) == (Kind.ITEMS_IN_WORK, 2)
    mixed = {**below(names[:1]), **below(names[1:], owner=0)}
    assert seen(mixed) is None


def test_a_lease_with_a_time_limit() -> None:
    value = {"version": 1, "holder": "ann", "end": "2026-11-30T08:00:00"}
    holder = znode(json.dumps(value).encode(), owner=0)
    found = seen({"/r/lease_holder": holder})
    assert found is not None
    assert found.holders[0].text == "ann"
    assert found.facts == (("Held until", "2026-11-30 08:00:00 UTC"),)
    for data in (b"", b"{}", b"[]", b'{"version": 1, "holder": "a", "end": "x"}', b"[" * 50_000):
        assert seen({"/r/lease_holder": znode(data, owner=0)}) is None
    assert seen({"/r/lease_holder": holder, "/r/x": holder}) is None


def test_the_instances_of_a_service() -> None:
    def instance(name: str) -> Znode:
        value = {
            "name": "s",
            "id": name,
            "address": "10.0.0.1",
            "port": 80,
            "serviceType": "STATIC",
        }
        return znode(json.dumps(value).encode(), owner=0)

    found = seen({f"/r/{name}": instance(name) for name in UUIDS[:2]})
    assert found is not None
    assert (found.kind, found.members[0].text) == (Kind.SERVICE, "10.0.0.1:80")
    assert seen({f"/r/{UUIDS[0]}": instance(UUIDS[1])}) is None


def test_a_counter_of_zoolet_has_a_number() -> None:
    found = counter_of("/c", b"-17")
    assert found is not None
    assert found.facts[0] == ("Value", "-17")
    for data in (None, b"", b"x", b"\xff", b"1" * 1000):
        assert counter_of("/c", data) is None


@pytest.mark.parametrize(
    "znodes",
    [
        {},
        below(["a", "b"]),
        below(["ready"]),
        below([HEXES[0], "x"]),
        below(HEXES[:2], owner=0),
        below(HEXES[:2], owner=CONTAINER_OWNER),
        below(UUIDS[:2], data=b"a host"),
        below(UUIDS[:2], data=b"10.0.0.1", owner=0),
        below([f"{HEXES[0]}-bob"], owner=0),
        below([f"{HEXES[0]}-bob", "x"]),
        below(["entry-100-0000000001", "x"], owner=0),
        below(["entry-100-0000000001", "ready"], owner=0),
        below(["entry-100-0000000001", "queue-0000000001"], owner=0),
        below(["entries"]),
        below(["locks", "party", "x"]),
    ],
)
def test_znodes_that_only_look_similar_are_no_recipe(znodes: dict[str, Znode]) -> None:
    assert seen(znodes) is None


def test_with_data_of_the_parent_hex_names_are_no_barrier() -> None:
    assert seen(below(HEXES[:2]), b"settings") is None
    found = seen(below(HEXES[:2]), b"4")
    assert found is not None
    assert (found.kind, found.is_sure, found.num_holding) == (Kind.SEMAPHORE, False, 2)


def test_without_a_znode_that_can_be_read_weak_names_are_no_recipe() -> None:
    names = tuple(HEXES[:2])
    found = guess(names)
    assert found is not None
    plan = planned(found, "/r", {"/r": Listing(names, 2)})
    assert plan is not None
    assert recipe_of(plan, {}, b"") is None


def test_data_as_text() -> None:
    assert text_of(None) == ""
    assert text_of(b"\xff\x00") == "0xff00"
    assert text_of("é".encode() * 10_000) == "é" * MOST_CHARACTERS + "…"
    assert text_of(b"a" + "é".encode() * 10_000) == "a" + "é" * (MOST_CHARACTERS - 1) + "…"
    assert len(text_of(b"\xff" * 1_000_000)) == MOST_CHARACTERS + 1


def test_the_session_of_a_container_is_none() -> None:
    for owner, session in ((CONTAINER_OWNER, 0), (0, 0), (SESSION, SESSION)):
        stat = znode(owner=owner).stat
        assert stat is not None
        assert session_of(stat) == session


def test_a_member_that_cannot_be_read_keeps_its_place() -> None:
    name = f"{HEXES[0]}__lock__0000000001"
    found = seen({f"/r/{name}": Znode(None, None, "not permitted")})
    assert found is not None
    assert (found.holders[0].note, found.holders[0].session) == ("not permitted", 0)
