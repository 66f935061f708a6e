"""An image shows the state of one moment, whatever happens while its content is made."""

import random

import pytest

from zoolet.core.tree import Tree
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL
from zoolet.storage.snapshots import Image

DATA = b"x" * 3000
ZNODES = 400


class World:
    """A tree that changes at random."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.tree = Tree.fresh()
        self.zxid = 0

    def change(self) -> None:
        """Create a znode, or delete one that has no child."""
        self.zxid += 1
        existing = [path for path in self.tree.records if not path.startswith(paths.SYSTEM)]
        leaves = [p for p in existing if p != paths.ROOT and not self.tree.has_children(p)]
        if leaves and self.choose.random() < 0.4:
            path = self.choose.choice(leaves)
            self.tree.delete(path, paths.parent_of(path), self.zxid)
            return
        parent = self.choose.choice(existing)
        path = paths.join(parent, f"n{self.choose.randrange(40)}")
        if path not in self.tree.records:
            self.tree.create(path, parent, DATA, OPEN_ACL, 0, -1, self.zxid, self.zxid)

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
    assert len(chunks) > 3
    assert b"".join(chunks) == before


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


def test_a_tree_keeps_nothing_for_an_image_that_is_released() -> None:
    world = World(6)
    world.grow()
    image = Image(world.zxid, world.tree, {})
    kept = image._created_before
    world.change()
    image.release()
    before = dict(kept)
    for _ in range(100):
        world.change()
    assert kept == before
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
