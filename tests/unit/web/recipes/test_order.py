"""Who holds a lock and who waits: examples, and random contenders compared with a model."""

import random
import uuid

import pytest

from zoolet.web.recipes.guessing import guess
from zoolet.web.recipes.kinds import Kind, State
from zoolet.web.recipes.names import Name, name_of
from zoolet.web.recipes.order import has_overflowed, in_order, num_holding
from zoolet.web.recipes.planning import Listing, planned

MARKERS = {
    "kazoo": {"reader": "__rlock__", "writer": "__lock__"},
    "zoolet": {"reader": "__rlock__", "writer": "__lock__"},
    "Curator": {"reader": "__READ__", "writer": "__WRIT__"},
}


def made(library: str, marker: str, sequence: int, ids: random.Random) -> str:
    """Return a name as a library makes it."""
    unique = uuid.UUID(int=ids.getrandbits(128), version=4)
    before = unique.hex if library == "kazoo" else f"_c_{unique}-"
    return f"{before}{marker}{sequence:010d}"


def known(name: str) -> Name:
    found = name_of(name)
    assert found is not None
    return found


class Model:
    """A lock as its users know it: those who asked, in their order."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def holders(self) -> list[str]:
        found: list[str] = []
        for role, name in self.asked:
            if role == "writer":
                return found or [name]
            found.append(name)
        return found


@pytest.mark.parametrize("libraries", [["kazoo"], ["zoolet"], ["Curator"], ["kazoo", "zoolet"]])
@pytest.mark.parametrize("seed", range(20))
def test_random_contenders_have_the_order_of_the_model(libraries: list[str], seed: int) -> None:
    choices = random.Random(seed)
    model = Model()
    next_number = choices.choice([0, 7, 999_999_990, 2**31 - 200])
    for _ in range(80):
        if model.asked and choices.random() < 0.45:
            leaver = choices.choice([0, choices.randrange(len(model.asked))])
            model.asked.pop(leaver)
        else:
            library = choices.choice(libraries)
            role = choices.choice(["reader", "reader", "writer"])
            name = made(library, MARKERS[library][role], next_number, choices)
            model.asked.append((role, name))
            next_number += 1
        names = [name for _, name in model.asked]
        choices.shuffle(names)
        found = guess(names)
        if not names:
            assert found is None
            continue
        assert found is not None
        plan = planned(found, "/l", {"/l": Listing(tuple(names), len(names))})
        assert plan is not None
        shown = [member.name for member in plan.members]
        assert shown == [name for _, name in model.asked]
        holds = [member.name for member in plan.members if member.state is State.HOLDS]
        assert holds == model.holders()
        waits = [member.name for member in plan.members if member.state is State.WAITS]
        assert waits == shown[len(holds) :]
        has_reader = any(role == "reader" for role, _ in model.asked)
        is_curator = libraries == ["Curator"]
        wanted = Kind.READ_WRITE_LOCK if has_reader or is_curator else Kind.LOCK
        assert plan.kind is wanted


def test_curators_holder_of_the_write_lock_may_also_read() -> None:
    ids = random.Random(1)

    def make(marker: str, at: int) -> Name:
        return known(made("Curator", marker, at, ids))

    write, read = make("__WRIT__", 3), make("__READ__", 3)
    later = make("__READ__", 4)
    assert in_order([later, read, write]) == [write, read, later]
    assert num_holding([write, read, later]) == 2
    assert num_holding([read, later]) == 2
    assert num_holding([write, later]) == 1
    assert num_holding([]) == 0


def test_after_an_overflow_libraries_differ_about_the_order() -> None:
    ids = random.Random(2)
    first, second, third = (-(2**31), -(2**31) + 1, 2**31 - 1)
    kazoo = [known(made("kazoo", "__lock__", at, ids)) for at in (first, second, third)]
    zoolet = [known(made("zoolet", "__lock__", at, ids)) for at in (first, second, third)]
    assert [found.sequence for found in in_order(kazoo)] == [second, first, third]
    assert [found.sequence for found in in_order(zoolet)] == [first, second, third]
    assert has_overflowed(kazoo)
    assert not has_overflowed(kazoo[2:])


@pytest.mark.parametrize("seed", range(5))
def test_random_items_have_the_order_of_their_queue(seed: int) -> None:
    choices = random.Random(seed)
    items = [(choices.randrange(1000), number) for number in range(100)]
    names = [f"entry-{priority:03d}-{number:010d}" for priority, number in items]
    shuffled = names.copy()
    choices.shuffle(shuffled)
    found = guess(shuffled)
    assert found is not None
    plan = planned(found, "/q", {"/q": Listing(tuple(shuffled), 5000)})
    assert plan is not None
    shown = [(member.priority, member.sequence) for member in plan.members]
    assert shown == sorted(items)
    assert plan.num_more == 4900
