"""ACL lists in snapshots: what no znode has is in none, and is not kept of an older one."""

from pathlib import Path

from zoolet.model.acl import ACL, OPEN_ACL, READ_ONLY_ACL, AclList, Id
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.snapshots import Image, read_snapshot, write_snapshot

LISTS = 300
ENTRIES = 1000


def long_list(number: int) -> AclList:
    return tuple(ACL(31, Id("digest", f"user-{number}-{entry}:x")) for entry in range(ENTRIES))


def saved(tree: Tree, directory: Path) -> bytes:
    return write_snapshot(Disk(), directory, Image(1, tree, {})).read_bytes()


def test_lists_that_were_replaced_are_freed_and_not_in_the_next_snapshot(tmp_path: Path) -> None:
    tree = Tree.fresh()
    tree.create("/a", "/", b"", OPEN_ACL, 0, -1, 1, 1)
    for number in range(LISTS):
        tree.set_acl("/a", long_list(number), number + 1)
    last = long_list(LISTS - 1)
    assert set(tree.acl_table.lists) == {READ_ONLY_ACL, last}
    content = saved(tree, tmp_path)
    assert content.count(b"user-") == ENTRIES
    assert read_snapshot(tmp_path / "snapshot.1", content).tree.acl_of("/a") == last


def test_a_deleted_znode_s_list_is_not_in_the_next_snapshot(tmp_path: Path) -> None:
    tree = Tree.fresh()
    tree.create("/a", "/", b"", long_list(0), 0, -1, 1, 1)
    tree.delete("/a", "/", 2)
    assert saved(tree, tmp_path).count(b"user-") == 0


def test_lists_that_an_older_snapshot_has_and_no_znode_uses_are_not_loaded(tmp_path: Path) -> None:
    tree = Tree.fresh()
    tree.create("/a", "/", b"", long_list(1), 0, -1, 1, 1)
    for number in (0, 2, 3):
        tree.acl_table.find_or_add(long_list(number))  # as when nothing was ever dropped
    content = saved(tree, tmp_path)
    assert content.count(b"user-") == 4 * ENTRIES
    loaded = read_snapshot(tmp_path / "snapshot.1", content).tree
    assert set(loaded.acl_table.lists) == {READ_ONLY_ACL, long_list(1)}
    assert loaded.acl_table.lists[long_list(1)].users == 1


def test_an_image_stays_what_it_was_while_lists_go(tmp_path: Path) -> None:
    tree = Tree.fresh()
    tree.create("/a", "/", b"", long_list(0), 0, -1, 1, 1)
    tree.create("/b", "/", b"", long_list(0), 0, -1, 2, 1)
    image = Image(2, tree, {})
    tree.delete("/a", "/", 3)
    tree.set_acl("/b", long_list(1), 1)
    path = write_snapshot(Disk(), tmp_path, image)
    loaded = read_snapshot(path, path.read_bytes()).tree
    assert {name: loaded.acl_of(name) for name in ("/a", "/b")} == dict.fromkeys(
        ("/a", "/b"), long_list(0)
    )


def test_many_lists_are_written_in_chunks() -> None:
    tree = Tree.fresh()
    for number in range(40):
        tree.create(f"/n{number}", "/", b"", long_list(number), 0, -1, number + 1, 1)
    chunks = list(Image(40, tree, {}).content())
    assert len(chunks) > 3
    assert max(map(len, chunks)) < 2 * (1 << 18)
