"""A very long list of children is copied without the deleted ones in steps, which shows nobody."""

import itertools
import random

import pytest

from zoolet.server.pipeline.encoding_steps import NamesOfChildren
from zoolet.state_machine.compaction import CHARACTERS_PER_ENTRY, ENTRIES_AT_ONCE
from zoolet.state_machine.directory import Directory

NUM_CHILDREN = 30_000


def path_of(number: int) -> str:
    return f"/d/n{number}"


def filled() -> Directory:
    directory = Directory(0, None)
    for number in range(NUM_CHILDREN):
        directory.add(path_of(number), 1)
    return directory


def current(directory: Directory) -> list[str]:
    """Return the children, without an effect on the directory."""
    gone = directory.gone or set()
    return [path for path in directory.entries if path not in gone]


def whole(reply: NamesOfChildren) -> bytes:
    while not reply.step():
        pass
    return b"".join(reply.parts())


def encoded(found: list[str]) -> bytes:
    names = [path.removeprefix("/d/").encode() for path in found]
    return b"".join([len(names).to_bytes(4), *(len(one).to_bytes(4) + one for one in names)])


def is_copying(directory: Directory) -> bool:
    return directory.compaction is not None and not directory.compaction.is_copied


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_step_copies_or_frees_a_part(is_shared: bool) -> None:
    directory = filled()
    old = directory.listed() if is_shared else directory.entries
    most = ENTRIES_AT_ONCE + len(path_of(NUM_CHILDREN)) // CHARACTERS_PER_ENTRY
    num_kept = steps = 0
    for number in range(0, NUM_CHILDREN, 3):
        size = len(old)
        directory.remove(path_of(number), 1)
        assert size - len(old) <= most
        if directory.entries is old and directory.compaction is not None:
            assert len(directory.compaction.kept) - num_kept <= most
            num_kept = len(directory.compaction.kept)
            steps += 1
    assert directory.entries is not old
    assert steps >= NUM_CHILDREN // most
    # A reader has the old list as it was; else its memory is free.
    assert len(old) == (NUM_CHILDREN if is_shared else 0)
    assert directory.compaction is None


def test_a_client_that_lists_the_children_lets_the_list_be_copied() -> None:
    directory = filled()
    for number in range(1001):
        directory.remove(path_of(number), 1)
    old = directory.entries
    reply = NamesOfChildren(directory, b"")
    assert directory.entries is old
    for number in range(1001, 2000):
        directory.remove(path_of(number), 1)
    assert directory.entries is not old
    assert whole(reply) == encoded([path_of(n) for n in range(1001, NUM_CHILDREN)])


def test_a_long_path_makes_a_long_step() -> None:
    directory = filled()
    for number in itertools.count():
        path = f"/d/{number}{'x' * 50_000}"
        directory.add(path, 1)
        directory.remove(path, 1)
        assert directory.gone_bytes <= 100 * len(directory.entries)
        if number > 200:
            break


@pytest.mark.parametrize("is_deleted_again", [False, True])
def test_children_that_are_created_again_while_the_list_is_copied(is_deleted_again: bool) -> None:
    directory = filled()
    deleted = itertools.count(0, 2)
    while not is_copying(directory):
        directory.remove(path_of(next(deleted)), 1)
    last = next(deleted) - 2
    expected = {path_of(n) for n in range(NUM_CHILDREN)} - {path_of(n) for n in range(0, last, 2)}
    expected.discard(path_of(last))
    # The copy has left out the first ones, and has not reached the last ones. 1 is copied.
    changed = [path_of(number) for number in (0, 2, last - 2, last)]
    for path in changed:
        directory.add(path, 1)
    for path in (path_of(1), path_of(NUM_CHILDREN - 1)):
        directory.remove(path, 1)
        directory.add(path, 1)
        changed.append(path)
    expected |= set(changed)
    if is_deleted_again:
        for path in changed:
            directory.remove(path, 1)
        expected -= set(changed)
    assert is_copying(directory)
    assert sorted(current(directory)) == sorted(expected)
    while is_copying(directory):
        path = path_of(NUM_CHILDREN + len(expected))
        directory.add(path, 1)
        expected.add(path)
    assert sorted(current(directory)) == sorted(expected)
    assert directory.num_children == len(expected)


class Children:
    """A directory, and a model of it: the numbers of the children, and of the deleted ones."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.directory = filled()
        self.present = list(range(NUM_CHILDREN))
        self.absent: list[int] = []
        self.again: set[int] = set()
        self.num_created = NUM_CHILDREN

    def change(self) -> None:
        """Create or delete a child, or create a child again: perhaps one that was just deleted."""
        choice = self.chance.random()
        if choice < 0.55:
            position = self.chance.randrange(len(self.present))
            self.present[position], self.present[-1] = self.present[-1], self.present[position]
            self.absent.append(self.present.pop())
            self.directory.remove(path_of(self.absent[-1]), 1)
            return
        if choice < 0.65 and self.absent:
            position = self.chance.choice((-1, self.chance.randrange(len(self.absent))))
            number = self.absent.pop(position)
            self.again.add(number)
        else:
            number = self.num_created
            self.num_created += 1
        self.directory.add(path_of(number), 1)
        self.present.append(number)

    def check(self) -> list[str]:
        """Check the list; return it."""
        directory = self.directory
        found = current(directory)
        assert sorted(found) == sorted(map(path_of, self.present))
        assert directory.gone_bytes == sum(map(len, directory.gone or ()))
        numbers = [int(path.removeprefix("/d/n")) for path in found]
        # A child that was created again may be at its old place or later.
        once = [number for number in numbers if number not in self.again]
        assert once == sorted(once)
        return found


@pytest.mark.parametrize("seed", range(6))
def test_random_changes_and_readers(seed: int) -> None:
    """Each reader has the children of its moment, whatever changes later."""
    world = Children(seed)
    directory, chance = world.directory, world.chance
    readers: list[tuple[NamesOfChildren, bytes, list[str], list[str]]] = []
    num_copies = 0
    while num_copies < 4:
        was_copying = is_copying(directory)
        world.change()
        assert directory.num_children == len(world.present)
        has_ended = was_copying and not is_copying(directory)
        num_copies += has_ended
        if has_ended or chance.random() < (0.02 if was_copying else 0.001):
            body = encoded(world.check())
            entries = directory.listed()
            readers.append((NamesOfChildren(directory, b""), body, entries, entries[:]))
        if readers:
            chance.choice(readers)[0].step()
        if len(readers) > 5 or (readers and chance.random() < 0.001):
            reply, body, entries, before = readers.pop(chance.randrange(len(readers)))
            assert whole(reply) == body
            assert entries[: len(before)] == before
    assert sorted(directory.children()) == sorted(map(path_of, world.present))
    for reply, body, entries, before in readers:
        assert whole(reply) == body
        assert entries[: len(before)] == before
