"""The order of writes: children after their parents, deletions the other way round."""

import random

from zoolet.archive.mirror.plan import Plan, Write, make_plan, plan_emptying
from zoolet.archive.mirror.records.rows import DIFFERENT, Found, Row
from zoolet.archive.mirror.records.subtree import parent_of
from zoolet.model.acl import OPEN_ACL, READ_ONLY_ACL
from zoolet.model.stat import Stat


def stat_of(czxid: int, mzxid: int = 0, aversion: int = 0) -> Stat:
    return Stat(czxid, mzxid or czxid, 0, 0, 0, 0, aversion, 0, 0, 0, czxid)


def found(czxid: int, mzxid: int = 0, aversion: int = 0) -> Found:
    stat = stat_of(czxid, mzxid, aversion)
    return Found(str(stat.mzxid).encode(), stat, OPEN_ACL)


class Copies(dict[str, Row]):
    """The znodes of the target."""

    def row(self, relative: str) -> Row | None:
        return self.get(relative)

    def subtree(self, relative: str, most: int) -> list[tuple[str, Row]]:
        below = [path for path in self if path == relative or path.startswith(f"{relative}/")]
        return [(path, self[path]) for path in sorted(below, reverse=True)][:most]

    def with_copy(self, relative: str, czxid: int, mzxid: int = 0) -> "Copies":
        self[relative] = Row.created(stat_of(czxid, mzxid)).applied(100)
        return self


def plan(wanted: dict[str, Found | None], copies: Copies, most: int = 500) -> Plan:
    return make_plan(wanted, copies, most, keeps_root=False)


def done(writes: list[Write]) -> list[tuple[str, str]]:
    return [
        (
            "delete" if each.row is None else "create" if each.version is None else "set",
            each.relative,
        )
        for each in writes
    ]


def test_a_parent_is_created_before_its_children() -> None:
    made = plan({"/a/b/c": found(3), "/a": found(1), "/a/b": found(2)}, Copies().with_copy("", 0))
    assert done(made.writes) == [("create", "/a"), ("create", "/a/b"), ("create", "/a/b/c")]


def test_a_znode_without_its_parent_waits() -> None:
    made = plan({"/a/b": found(2)}, Copies().with_copy("", 0))
    assert made.writes == []
    assert made.later == ["/a", "/a/b"]


def test_a_subtree_is_deleted_from_its_leaves() -> None:
    copies = Copies().with_copy("", 0).with_copy("/a", 1).with_copy("/a/b", 2).with_copy("/ab", 3)
    made = plan({"/a": None}, copies)
    assert done(made.writes) == [("delete", "/a/b"), ("delete", "/a")]


def test_a_large_subtree_is_deleted_in_parts() -> None:
    copies = Copies().with_copy("", 0).with_copy("/a", 1)
    for number in range(5):
        copies.with_copy(f"/a/{number}", 2)
    made = plan({"/a": None}, copies, most=3)
    assert done(made.writes) == [("delete", "/a/4"), ("delete", "/a/3"), ("delete", "/a/2")]
    assert made.later == ["/a"]


def test_a_znode_that_was_created_again_is_replaced_with_its_subtree() -> None:
    copies = Copies().with_copy("", 0).with_copy("/a", 1).with_copy("/a/b", 2)
    made = plan({"/a": found(9), "/a/b": found(10)}, copies)
    assert done(made.writes) == [
        ("delete", "/a/b"),
        ("delete", "/a"),
        ("create", "/a"),
        ("create", "/a/b"),
    ]


def test_new_descendants_that_are_deleted_with_an_old_parent_are_read_again() -> None:
    copies = Copies().with_copy("", 0).with_copy("/a", 1).with_copy("/a/b", 10)
    made = plan({"/a": found(9)}, copies)
    assert done(made.writes) == [("delete", "/a/b"), ("delete", "/a"), ("create", "/a")]
    assert made.later == ["/a/b"]


def test_descendants_of_a_deleted_znode_are_not_read_again() -> None:
    copies = Copies().with_copy("", 0).with_copy("/a", 1).with_copy("/a/b", 2)
    assert plan({"/a": None}, copies).later == []


def test_a_large_subtree_is_emptied_before_its_root_is_replaced() -> None:
    copies = Copies().with_copy("", 0).with_copy("/a", 1)
    for number in range(5):
        copies.with_copy(f"/a/{number}", 2)
    emptied = plan_emptying({"/a": found(9)}, copies, 3, keeps_root=False)
    assert done(emptied) == [("delete", "/a/4"), ("delete", "/a/3"), ("delete", "/a/2")]
    for write in emptied:
        del copies[write.relative]
    assert plan_emptying({"/a": found(9)}, copies, 3, keeps_root=False) == []


def test_only_replaced_subtrees_are_emptied() -> None:
    copies = Copies().with_copy("", 1).with_copy("/a", 2).with_copy("/b", 3)
    assert plan_emptying({"": found(1)}, copies, 1, keeps_root=False) == []
    assert plan_emptying({"": None}, copies, 1, keeps_root=False) == []
    assert plan_emptying({"": found(9)}, copies, 1, keeps_root=True) == []


def test_data_and_acls_are_changed_only_if_they_differ() -> None:
    copies = Copies().with_copy("", 0).with_copy("/a", 1).with_copy("/b", 1).with_copy("/c", 1)
    acl = found(1, 1, 4)._replace(acl=READ_ONLY_ACL)
    made = plan({"/a": found(1, 5), "/b": acl, "/c": found(1)}, copies)
    assert done(made.writes) == [("set", "/a")]
    assert [(each.relative, each.acl) for each in made.acls] == [("/b", READ_ONLY_ACL)]


def test_a_znode_of_a_source_that_was_set_back_is_another_one() -> None:
    copies = Copies().with_copy("", 0).with_copy("/a", 1, 3).with_copy("/b", 2, 3)
    changed, again = found(1, 3), found(2, 3)
    changed = changed._replace(stat=changed.stat._replace(mtime=7))
    again = again._replace(stat=again.stat._replace(ctime=7, mtime=7))
    assert not copies["/a"].is_same_source(changed.stat)
    assert not copies["/b"].is_same_source(again.stat)
    made = plan({"/a": changed, "/b": again}, copies)
    assert done(made.writes) == [("delete", "/b"), ("set", "/a"), ("create", "/b")]
    for write in made.writes:
        if write.row is not None:
            copies[write.relative] = write.row.applied(200)
    assert copies["/a"].is_same_source(changed.stat)
    assert copies["/b"].is_same_source(again.stat)


def test_a_znode_whose_acl_was_not_read_waits() -> None:
    copies = Copies().with_copy("", 0).with_copy("/b", 1)
    copies["/b"] = copies["/b"]._replace(czxid=DIFFERENT, mzxid=-1, aversion=-1)
    without = found(1)._replace(acl=None)
    made = plan({"/a": without, "/b": without}, copies)
    assert (made.writes, made.acls, made.later) == ([], [], ["/a", "/b"])


def test_a_different_copy_gets_data_and_acl() -> None:
    copies = Copies().with_copy("", 0)
    copies["/a"] = (
        Row.created(stat_of(1)).applied(100)._replace(czxid=DIFFERENT, mzxid=-1, aversion=-1)
    )
    made = plan({"/a": found(1)}, copies)
    assert done(made.writes) == [("set", "/a")]
    assert len(made.acls) == 1


def test_the_root_of_the_server_stays() -> None:
    copies = Copies().with_copy("", 1).with_copy("/a", 2)
    made = make_plan({"": None}, copies, 500, keeps_root=True)
    assert done(made.writes) == [("delete", "/a")]


class Model:
    """Applies plans as a server does, and follows a random source."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.zxid = 1
        self.source: dict[str, tuple[int, int]] = {"": (0, 0)}
        self.changed: set[str] = {""}
        self.copies = Copies()

    def change(self) -> None:
        """Change the source once, as a client does."""
        self.zxid += 1
        path = self.chance.choice(list(self.source))
        step = self.chance.random()
        if step < 0.5 and path.count("/") < 4:
            child = f"{path}/{self.chance.choice('abc')}"
            if child not in self.source:
                self.source[child] = (self.zxid, self.zxid)
                self.changed.add(child)
        elif step < 0.7 and path:
            self.delete(path)
        elif step < 0.8 and path:
            for again in sorted(self.delete(path)):
                self.zxid += 1
                self.source[again] = (self.zxid, self.zxid)
        else:
            self.source[path] = (self.source[path][0], self.zxid)
            self.changed.add(path)

    def delete(self, path: str) -> list[str]:
        """Delete a subtree of the source, and return its paths."""
        gone = [each for each in self.source if f"{each}/".startswith(f"{path}/")]
        for each in gone:
            del self.source[each]
        self.changed.update(gone)
        return gone

    def copy(self) -> None:
        """Read some of the changed znodes, while the source changes, and apply the plan."""
        taken = self.chance.sample(sorted(self.changed), min(3, len(self.changed)))
        read: dict[str, Found | None] = {}
        for path in taken:
            self.changed.discard(path)
            read[path] = found(*self.source[path]) if path in self.source else None
            if self.chance.random() < 0.3:
                self.change()
        while emptied := plan_emptying(read, self.copies, 4, keeps_root=False):
            self.apply(emptied)
            self.changed.update(write.relative for write in emptied)
        made = plan(read, self.copies, most=4)
        self.changed.update(made.later)
        self.apply(made.writes)

    def apply(self, writes: list[Write]) -> None:
        """Write to the target; each write must be permitted."""
        for write in writes:
            parent = parent_of(write.relative)
            if write.row is None:
                del self.copies[write.relative]
                below = f"{write.relative}/"
                assert not any(path.startswith(below) for path in self.copies)
                continue
            assert parent is None or parent in self.copies
            assert (write.version is None) == (write.relative not in self.copies)
            self.copies[write.relative] = write.row.applied(self.zxid)


def test_copies_become_equal_at_random() -> None:
    for seed in range(150):
        model = Model(seed)
        for _ in range(60):
            model.change()
            if model.chance.random() < 0.7:
                model.copy()
        for _ in range(2000):
            if not model.changed:
                break
            model.copy()
        assert not model.changed, f"seed {seed}"
        copied = {path: (row.czxid, row.mzxid) for path, row in model.copies.items()}
        assert copied == model.source, f"seed {seed}"
