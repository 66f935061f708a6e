"""An image shows the state of one moment, whatever happens while its content is made."""

import random
from pathlib import Path

import pytest

from zoolet.model import paths
from zoolet.model.acl import ACL, OPEN_ACL, READ_ONLY_ACL, Id
from zoolet.model.owner_kinds import CONTAINER_OWNER, owner_of_ttl
from zoolet.state_machine.kept import KeptZnode, KeptZnodes
from zoolet.state_machine.tables import PART_MOST
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.snapshots import Image, read_snapshot, write_snapshot

LISTS = (OPEN_ACL, READ_ONLY_ACL, (ACL(1, Id("digest", "somebody:x=")),))
OWNERS = (0, 7, CONTAINER_OWNER, owner_of_ttl(1000))
SIZES = (0, 5, 100, 436, 437, 8000, 40_000)
WIDE = ("", "ä", "語", "😀")
ZNODES = 400


class World:
    """A tree that changes at random."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.tree = Tree.fresh()
        self.zxid = 0

    def change(self) -> None:
        """Change, delete or create a znode, or give the tables another size."""
        self.zxid += 1
        if self.choose.random() < 0.05:
            self.tree.shrink()
        existing = sorted(path for path in self.tree.records if not path.startswith(paths.SYSTEM))
        path = self.choose.choice(existing)
        match self.choose.randrange(10):
            case 0:
                self.tree.set_data(path, self.choose.randbytes(20), 1, self.zxid, self.zxid)
            case 1:
                self.tree.set_acl(path, self.choose.choice(LISTS), 1)
            case 2:
                self.tree.replace_data(path, self.choose.randbytes(10))
            case 3 | 4 | 5:
                if path != paths.ROOT and not self.tree.has_children(path):
                    self.tree.delete(path, paths.parent_of(path), self.zxid)
            case _:
                self._create_below(path)

    def _create_below(self, parent: str) -> None:
        number = self.choose.randrange(40)
        path = paths.join(parent, f"n{WIDE[number % 4]}{number}")
        if path not in self.tree.records:
            data = bytes(self.choose.choice(SIZES)) if number else None
            acl, owner = OPEN_ACL, 0  # of most znodes
            if self.choose.random() < 0.3:
                acl, owner = self.choose.choice(LISTS), self.choose.choice(OWNERS)
            self.tree.create(path, parent, data, acl, owner, -1, self.zxid, self.zxid)

    def grow(self) -> None:
        while len(self.tree) < ZNODES:
            self.change()


@pytest.mark.parametrize("seed", range(5))
def test_the_content_is_that_of_its_moment(seed: int) -> None:
    world = World(seed)
    world.grow()
    before = b"".join(Image(world.zxid, world.tree, {}).content())
    image = Image(world.zxid, world.tree, {})
    chunks = []
    for chunk in image.content():
        chunks.append(chunk)
        for _ in range(100):
            world.change()
    assert len(chunks) > 2
    assert b"".join(chunks) == before


@pytest.mark.parametrize("seed", range(5))
def test_chunks_end_when_there_is_no_time_left(seed: int) -> None:
    """The content is the same, whatever the clock says."""
    world = World(seed)
    world.grow()
    before = list(Image(world.zxid, world.tree, {}).content())
    time_left = random.Random(seed)
    image = Image(world.zxid, world.tree, {})
    chunks = []
    for chunk in image.content(lambda: time_left.random() < 0.8):
        chunks.append(chunk)
        for _ in range(20):
            world.change()
    assert len(chunks) > 2 * len(before)
    assert b"".join(chunks) == b"".join(before)


def test_of_two_images_each_shows_its_own_moment() -> None:
    world = World(5)
    world.grow()
    moments = []
    for _ in range(3):
        content = b"".join(Image(world.zxid, world.tree, {}).content())
        moments.append((Image(world.zxid, world.tree, {}), content))
        for _ in range(100):
            world.change()
    for image, content in moments:
        assert b"".join(image.content()) == content


class LongList:
    """A tree with long lists of children, of which many are deleted and created again."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.tree = Tree.fresh()
        self.zxid = 0
        for parent in ("/a", "/b", "/b/c"):
            self._create(parent)
            for _ in range(300):
                self._create(f"{parent}/{self.choose.randrange(1000)}")

    def _create(self, path: str) -> None:
        self.zxid += 1
        if path not in self.tree.records:
            data = bytes(self.choose.randrange(16_000))
            parent = paths.parent_of(path)
            self.tree.create(path, parent, data, OPEN_ACL, 0, -1, self.zxid, self.zxid)

    def change(self) -> None:
        """Create, delete or change a child, list the children, or delete most of them."""
        parent = self.choose.choice(("/a", "/b", "/b/c"))
        children = [path for path in self.tree.children_of(parent) if path != "/b/c"]
        self.zxid += 1
        match self.choose.randrange(40):
            case 0 if len(children) > 100:
                for path in self.choose.sample(children, len(children) - 50):
                    self.tree.delete(path, parent, self.zxid)
            case number if number < 20 and children:
                self.tree.delete(self.choose.choice(children), parent, self.zxid)
            case number if number < 22 and children:
                self.tree.set_data(self.choose.choice(children), b"x", 1, self.zxid, self.zxid)
            case _:
                for _ in range(3):
                    self._create(f"{parent}/{self.choose.randrange(1000)}")


@pytest.mark.parametrize("seed", range(10))
def test_the_content_has_the_children_of_its_moment(seed: int) -> None:
    world = LongList(seed)
    for _ in range(200):
        world.change()
    before = b"".join(Image(world.zxid, world.tree, {}).content())
    image = Image(world.zxid, world.tree, {})
    for _ in range(world.choose.randrange(300)):
        world.change()
    chunks = []
    for chunk in image.content():
        chunks.append(chunk)
        for _ in range(50):
            world.change()
    assert len(chunks) > 2
    assert b"".join(chunks) == before


def test_an_image_of_many_znodes_is_that_of_its_moment(tmp_path: Path) -> None:
    """Also if more of them change meanwhile than one part of a table has."""
    tree = Tree.fresh()
    names = [f"/p{parent}" for parent in range(40)]
    for path in [*names, *(f"{parent}/{child}" for parent in names for child in range(220))]:
        tree.create(path, paths.parent_of(path), b"old", OPEN_ACL, 0, -1, 1, 1)
    expected = tree.all_records()
    assert len(expected) > 2 * PART_MOST
    image = Image(1, tree, {5: 1000})
    for path in tuple(expected):
        if path.count("/") == 2:
            tree.set_data(path, b"new", 1, 2, 2)
    for path in tree.children_of("/p7")[:]:
        tree.delete(path, "/p7", 3)
    name = write_snapshot(Disk(), tmp_path, image)
    read = read_snapshot(name, name.read_bytes())
    assert read.tree.all_records() == expected
    assert list(read.tree.walk()) == list(expected)
    assert read.sessions == {5: 1000}


def all_kept(kept: KeptZnodes) -> tuple[dict[str, bytes], dict[str, KeptZnode]]:
    return {path: kept.plain[path] for path in kept.plain}, dict(kept.others.items())


def test_a_tree_keeps_nothing_for_an_image_that_is_released() -> None:
    world = World(6)
    world.grow()
    image = Image(world.zxid, world.tree, {})
    kept = image._kept
    for _ in range(20):
        world.change()
    image.release()
    before = all_kept(kept)
    assert any(before)
    for _ in range(100):
        world.change()
    assert all_kept(kept) == before
    image.release()


def test_a_read_after_many_changes_brings_few_records_up_to_date() -> None:
    """However many parents have changed since the last read."""
    tree = Tree.fresh()
    for number in range(1500):
        tree.create(f"/p{number}", "/", b"", OPEN_ACL, 0, -1, number + 1, 1)
    for number in range(1500):
        tree.create(f"/p{number}/c", f"/p{number}", b"", OPEN_ACL, 0, -1, number + 2000, 1)
    behind = [p for p, directory in tree.directories.items() if not directory.is_counted]
    assert 0 < len(behind) <= 1001
    assert tree.record_of("/") is not None
    assert all(directory.is_counted for directory in tree.directories.values())
