"""The order of children: that of their creation; each is there once, whatever came and went."""

import random
from pathlib import Path

import pytest

from tests.support.writer import Writer
from zoolet.model import requests
from zoolet.model.codes import OpCode
from zoolet.state_machine.machine import StateMachine

PARENT = "/parent"


def children(machine: StateMachine) -> list[str]:
    node = machine.tree.find(PARENT)
    assert node is not None
    return node.names


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    made = Writer(tmp_path)
    made.create(PARENT)
    return made


def create(writer: Writer, name: str) -> None:
    writer.create(f"{PARENT}/{name}")


def delete(writer: Writer, name: str) -> None:
    writer.change(OpCode.DELETE, requests.Delete(f"{PARENT}/{name}", -1))


def test_children_are_in_the_order_of_their_creation(writer: Writer) -> None:
    names = [f"{number}" for number in (5, 3, 9, 1, 7)]
    for name in names:
        create(writer, name)
    assert children(writer.machine) == names
    delete(writer, "9")
    assert children(writer.machine) == ["5", "3", "1", "7"]
    create(writer, "0")
    assert children(writer.machine) == ["5", "3", "1", "7", "0"]


@pytest.mark.parametrize("is_asked_between", [False, True])
def test_a_child_created_again_is_there_once(writer: Writer, is_asked_between: bool) -> None:
    """It may be at its old place or at the end; the others keep their order."""
    names = [f"{number}" for number in range(40)]
    for name in names:
        create(writer, name)
    for name in ("7", "7", "39", "0"):
        delete(writer, name)
        if is_asked_between:
            assert name not in children(writer.machine)
        create(writer, name)
    found = children(writer.machine)
    assert sorted(found) == sorted(names)
    again = {"7", "39", "0"}
    assert [name for name in found if name not in again] == [
        name for name in names if name not in again
    ]


@pytest.mark.parametrize("seed", range(20))
def test_each_child_is_there_once_also_after_a_restart(writer: Writer, seed: int) -> None:
    """From the log alone, and from a snapshot in the middle."""
    chance = random.Random(seed)
    created: list[str] = []  # those that were created once, and are there
    again: set[str] = set()
    ever: set[str] = set()
    for step in range(200):
        there = [*created, *again]
        if there and chance.random() < 0.45:
            name = chance.choice(there)
            delete(writer, name)
            if name in again:
                again.remove(name)
            else:
                created.remove(name)
        else:
            name = str(chance.randrange(60))
            if name in there:
                continue
            create(writer, name)
            if name in ever:
                again.add(name)
            else:
                created.append(name)
            ever.add(name)
        if chance.random() < 0.1:
            children(writer.machine)
        if step == 100 and seed % 2:
            writer.snapshot()
    found = children(writer.machine)
    assert sorted(found) == sorted([*created, *again])
    assert [name for name in found if name in set(created)] == created
    restarted = writer.recover().machine
    assert sorted(children(restarted)) == sorted(found)
    assert len(set(children(restarted))) == len(found)
    record = restarted.tree.find(PARENT)
    assert record is not None
    assert record.stat.num_children == len(found)
