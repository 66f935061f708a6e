"""Long replies that are encoded in steps show the state at one zxid."""

import random

import pytest

from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.server.pipeline.encoding_steps import (
    ENTRIES_AT_ONCE,
    EncodingSteps,
    EntriesOfAcl,
    NamesOfChildren,
)
from zoolet.state_machine.access import hide_digests
from zoolet.state_machine.name_pieces import NAMES_PER_PIECE
from zoolet.state_machine.tree import Tree
from zoolet.wire.jute import Reader, pack_acl

STAT = bytes(range(68))


def whole(steps: EncodingSteps) -> bytes:
    while not steps.step():
        pass
    parts = steps.parts()
    assert steps.size_bytes == sum(map(len, parts))
    return b"".join(parts)


def names_in(body: bytes) -> list[str]:
    reader = Reader(body, 0, len(body))
    names = list(reader.read_vector(reader.read_ustring))
    assert body[reader.position :] == STAT
    return names


class Family:
    """A znode with children in a tree, and a naive model of them."""

    def __init__(self, num_children: int) -> None:
        self.tree = Tree.fresh()
        self.zxid = 0
        self.create("/d", "/")
        self.children: set[str] = set()
        for number in range(num_children):
            self.add(f"n{number}")

    def create(self, path: str, parent: str) -> None:
        self.zxid += 1
        self.tree.create(path, parent, b"", OPEN_ACL, 0, -1, self.zxid, 0)

    def add(self, name: str) -> None:
        self.create(f"/d/{name}", "/d")
        self.children.add(name)

    def remove(self, name: str) -> None:
        self.zxid += 1
        self.tree.delete(f"/d/{name}", "/d", self.zxid)
        self.children.remove(name)

    def listed(self) -> EncodingSteps:
        return NamesOfChildren(self.tree.directories["/d"], STAT)


class Lists:
    """Lists of a family that are under way, each with the names that it must have."""

    def __init__(self, family: Family, chance: random.Random) -> None:
        self.family = family
        self.chance = chance
        self.under_way: list[tuple[EncodingSteps, set[str]]] = []

    def begin(self) -> None:
        self.under_way.append((self.family.listed(), set(self.family.children)))

    def step(self) -> None:
        if self.under_way:
            self.chance.choice(self.under_way)[0].step()

    def finish(self) -> None:
        if self.under_way:
            steps, expected = self.under_way.pop(self.chance.randrange(len(self.under_way)))
            listed = names_in(whole(steps))
            assert len(listed) == len(expected)
            assert set(listed) == expected


@pytest.mark.parametrize("seed", range(6))
def test_a_list_shows_the_children_that_there_were_when_it_was_begun(seed: int) -> None:
    """Children come, go and come again between the steps of several lists at once."""
    chance = random.Random(seed)
    family = Family(chance.choice((1, 2, 10)) * NAMES_PER_PIECE + chance.choice((-1, 0, 1)))
    names = [*sorted(family.children), *(f"new{number}" for number in range(100))]
    lists = Lists(family, chance)

    def turn_over() -> None:
        for name in chance.sample(names, chance.choice((1, 30, len(names) // 2))):
            if name in family.children:
                family.remove(name)
            else:
                family.add(name)

    for _ in range(300):
        chance.choice((lists.begin, lists.step, lists.finish, turn_over))()
        assert family.tree.directories["/d"].num_children == len(family.children)
    listed = names_in(family.tree.encoded_names("/d") + STAT)
    assert len(listed) == len(family.children)
    assert set(listed) == family.children
    assert {path.rpartition("/")[2] for path in family.tree.children_of("/d")} == family.children


def test_the_pieces_of_a_list_are_kept_when_children_are_created() -> None:
    """So a list that only grows is encoded once, and all its readers share the bytes."""
    family = Family(3 * NAMES_PER_PIECE)
    before = family.listed()
    for number in range(NAMES_PER_PIECE):
        before.step()
        family.add(f"late{number}")
    assert names_in(whole(before)) == [f"n{number}" for number in range(3 * NAMES_PER_PIECE)]
    after = family.listed()
    assert len(names_in(whole(after))) == 4 * NAMES_PER_PIECE
    kept = family.tree.directories["/d"].pieces
    assert kept is not None
    pieces = kept.valid
    assert len(pieces) == 4
    for steps, num_pieces in ((before, 3), (after, 4)):
        parts = steps.parts()
        assert all(
            part is piece for part, piece in zip(parts[1:], pieces[:num_pieces], strict=False)
        )
        assert len(parts) == num_pieces + len((b"count", b"rest", b"behind"))


def test_lists_that_are_encoded_at_the_same_time_share_the_work() -> None:
    family = Family(16 * NAMES_PER_PIECE)
    lists = [family.listed() for _ in range(5)]
    under_way = list(lists)
    num_steps = 0
    while under_way:
        for steps in list(under_way):
            num_steps += 1
            if steps.step():
                under_way.remove(steps)
    assert num_steps <= 16 + len(lists)
    assert {b"".join(steps.parts()) for steps in lists} == {whole(family.listed())}


def test_a_list_without_a_change_is_complete_at_once() -> None:
    family = Family(2 * NAMES_PER_PIECE + 7)
    first = whole(family.listed())
    again = family.listed()
    assert again.is_complete
    assert whole(again) == first
    assert again.parts()[-2] is family.tree.directories["/d"].rest
    family.add("late")
    assert not family.listed().is_complete


@pytest.mark.parametrize("change", ["create", "delete"])
def test_a_list_that_has_changed_meanwhile_is_not_kept_as_the_newest(change: str) -> None:
    family = Family(2 * NAMES_PER_PIECE + 7)
    before = family.listed()
    before.step()
    if change == "create":
        family.add("late")
    else:
        family.remove("n5")
    whole(before)
    assert family.tree.directories["/d"].rest is None
    assert set(names_in(whole(family.listed()))) == family.children


@pytest.mark.parametrize("is_put_back", [False, True])
def test_one_piece_is_encoded_again_when_a_child_is_deleted_or_takes_its_old_place(
    is_put_back: bool,
) -> None:
    family = Family(4 * NAMES_PER_PIECE)
    if is_put_back:
        family.remove("n700")
    before = family.listed()
    whole(before)
    change = family.add if is_put_back else family.remove
    change("n700")
    after = family.listed()
    assert set(names_in(whole(after))) == family.children
    pairs = zip(before.parts()[1:5], after.parts()[1:5], strict=True)
    assert [old is new for old, new in pairs] == [True, False, True, True]


def test_the_pieces_of_a_list_are_dropped_after_many_deletions() -> None:
    family = Family(12 * NAMES_PER_PIECE)
    whole(family.listed())
    directory = family.tree.directories["/d"]
    for number in range(1001):
        assert directory.pieces is not None
        family.remove(f"n{2 * number}")
    assert directory.pieces is None
    assert set(names_in(whole(family.listed()))) == family.children


def test_an_empty_directory_keeps_no_paths() -> None:
    family = Family(0)
    for _ in range(3):
        for number in range(100):
            family.add(f"n{number}")
        for number in range(100):
            family.remove(f"n{number}")
        directory = family.tree.directories["/d"]
        assert (directory.entries, directory.gone) == ([], None)


@pytest.mark.parametrize("num_children", [100, 10_000])
def test_a_list_that_loses_half_its_children_is_short_again(num_children: int) -> None:
    family = Family(num_children)
    directory = family.tree.directories["/d"]
    for number in range(0, num_children, 2):
        family.remove(f"n{number}")
    family.remove("n1")
    assert len(directory.entries) == directory.num_children
    assert directory.gone is None


def test_long_paths_of_deleted_children_are_not_kept() -> None:
    family = Family(200)
    directory = family.tree.directories["/d"]
    for number in range(40):
        family.add(f"{number}{'x' * 10_000}")
        family.remove(f"{number}{'x' * 10_000}")
        assert sum(map(len, directory.gone or ())) <= 100 * len(directory.entries)


def test_when_all_deleted_children_are_there_again_nothing_is_kept_of_it() -> None:
    family = Family(10_000)
    directory = family.tree.directories["/d"]
    for number in range(4000):
        family.remove(f"n{number}")
    assert directory.gone_bytes > 0
    for number in range(4000):
        family.add(f"n{number}")
    assert directory.gone is None
    assert directory.gone_bytes == 0
    assert directory.num_children == len(directory.children()) == 10_000


def test_a_directory_keeps_few_paths_of_children_that_are_gone() -> None:
    family = Family(10)
    for number in range(1000):
        family.add(f"x{number}")
        family.remove(f"x{number}")
        assert len(family.tree.directories["/d"].entries) < 60


@pytest.mark.parametrize("hides_digests", [False, True])
@pytest.mark.parametrize("num_entries", [1, ENTRIES_AT_ONCE, 5 * ENTRIES_AT_ONCE + 1])
def test_a_long_acl_is_encoded_as_a_short_one(num_entries: int, hides_digests: bool) -> None:
    acl: AclList = tuple(
        ACL(1, Id("digest", f"u{number}:x{number}")) for number in range(num_entries)
    )
    steps = EntriesOfAcl(acl, hides_digests, STAT)
    assert whole(steps) == pack_acl(hide_digests(acl) if hides_digests else acl) + STAT
