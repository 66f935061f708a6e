"""The plan of a restore: what it changes, what it leaves, and in which order."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from tests.support.trees import SESSION, random_tree, stat_of
from zoolet.archive.live.comparing import compare, in_order, znode_of
from zoolet.archive.live.plan import Plan, StepKind
from zoolet.exports.lines import ExportedZnode
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, READ_ONLY_ACL
from zoolet.state_machine.tree import Tree


def tree_of(**znodes: bytes | int) -> Tree:
    """Return a tree; a name has _ for /, an int is an ephemeral of this session."""
    tree = Tree.fresh()
    for name, value in znodes.items():
        path = "/" + name.replace("_", "/")
        if isinstance(value, int):
            tree.add(path, b"", OPEN_ACL, stat_of(owner=value))
        else:
            tree.add(path, value, OPEN_ACL, stat_of(len(value)))
    tree.count_all_children()
    return tree


async def _read(tree: Tree, root: str) -> AsyncIterator[ExportedZnode]:
    for path in in_order(tree, root):
        yield znode_of(tree, path)


def plan_of(wanted: Tree, present: Tree, root: str = "/", most: int = 10) -> Plan:
    return asyncio.run(compare(wanted, root, [], _read(present, root), most))


def paths_of(plan: Plan, kind: StepKind) -> list[str]:
    return [step.path for step in plan.steps if step.kind is kind]


def test_equal_trees_need_no_change() -> None:
    plan = plan_of(tree_of(a=b"1", a_b=b"2"), tree_of(a=b"1", a_b=b"2"))
    assert plan.is_empty
    assert list(plan.lines(5)) == []


def test_each_kind_of_change_and_its_order() -> None:
    wanted = tree_of(a=b"1", a_b=b"2", c=b"3", e=b"", e_f=b"", e_f_g=b"")
    present = tree_of(a=b"x", c=b"3", d=b"", d_e=b"", d_e_f=b"")
    present.set_acl("/c", READ_ONLY_ACL, 4)
    plan = plan_of(wanted, present)
    assert paths_of(plan, StepKind.CREATE) == ["/a/b", "/e", "/e/f", "/e/f/g"]
    assert [(step.path, step.version) for step in plan.data] == [("/a", 1)]
    assert [(step.path, step.version) for step in plan.acls] == [("/c", 4)]
    assert paths_of(plan, StepKind.DELETE) == ["/d/e/f", "/d/e", "/d"]


def test_names_that_sort_around_the_slash_are_compared_in_the_order_of_a_walk() -> None:
    names = ["a", "a/b", "a!", "a!/b", "a-", "a0", "a/b!", "a/b/c"]
    tree = Tree.fresh()
    for name in names:
        tree.add(f"/{name}", b"", OPEN_ACL, stat_of())
    assert plan_of(tree, tree).is_empty


def test_the_subtree_only() -> None:
    plan = plan_of(tree_of(a=b"1", a_b=b"2", c=b"3"), tree_of(a=b"1", d=b""), "/a")
    assert [step.path for step in plan.steps] == ["/a/b"]


def test_system_znodes_are_not_compared() -> None:
    wanted = tree_of()
    wanted.add("/zookeeper/quota/a", b"", OPEN_ACL, stat_of())
    assert plan_of(wanted, tree_of()).is_empty
    assert plan_of(tree_of(), wanted).is_empty


def test_ephemerals_are_listed_and_neither_written_nor_deleted() -> None:
    wanted = tree_of(a=b"", a_lost=SESSION, b=b"", b_both=SESSION)
    present = tree_of(a=b"", b=b"", b_both=SESSION, c=b"", c_d=b"", c_d_e=SESSION, c_x=b"")
    plan = plan_of(wanted, present)
    assert plan.lost_ephemerals == ["/a/lost"]
    assert plan.kept_ephemerals == ["/b/both", "/c/d/e"]
    assert plan.kept_parents == ["/c", "/c/d"]
    assert [step.path for step in plan.steps] == ["/c/x"]
    shown = list(plan.lines(99))
    assert any("/c/d/e" in line for line in shown)


def test_an_ephemeral_blocks_what_the_state_has_at_its_place() -> None:
    plan = plan_of(tree_of(a=b"", a_b=b"", a_b_c=b"", ab=b""), tree_of(a=SESSION))
    assert plan.blocked == ["/a", "/a/b", "/a/b/c"]
    assert [step.path for step in plan.steps] == ["/ab"]


def counted_tree(path: str, created: int, *children: str) -> Tree:
    tree = tree_of()
    tree.add(path, b"", OPEN_ACL, stat_of(), created)
    for child in children:
        tree.add(f"{path}/{child}", b"", OPEN_ACL, stat_of())
    tree.count_all_children()
    return tree


@pytest.mark.parametrize(
    ("created", "children", "most", "expected"),
    [
        (5, (), 10, [(5, True)]),
        (5, ("x",), 10, [(4, False)]),
        (5, ("x0000000004",), 10, [(5, True)]),
        (11, ("x0000000004",), 10, [(10, False)]),
        (1, ("x",), 10, []),
        (12, ("x0000000004",), 10, None),
    ],
)
def test_the_counter_of_a_new_parent(
    created: int, children: tuple[str, ...], most: int, expected: list[tuple[int, bool]] | None
) -> None:
    """With sequential children it is raised before them; else their creation counts too."""
    plan = plan_of(counted_tree("/q", created, *children), tree_of(), most=most)
    found = [(raised.steps, raised.is_first) for raised in plan.counters if raised.path == "/q"]
    assert found == (expected or [])
    assert [raised.path for raised in plan.counters_too_far] == (["/q"] if expected is None else [])
    if expected is None:
        assert any("--most-counter-steps 11" in line for line in plan.summary())


def test_the_counter_of_a_parent_that_exists() -> None:
    plan = plan_of(counted_tree("/q", 9), counted_tree("/q", 7))
    assert [(raised.wanted, raised.steps) for raised in plan.counters] == [(9, 2)]
    assert plan_of(counted_tree("/q", 7), counted_tree("/q", 9)).is_empty


def test_a_long_plan_is_cut_and_tells_how_much_is_left() -> None:
    wanted = tree_of(**{f"n{number}": b"" for number in range(9)})
    lines = list(plan_of(wanted, tree_of()).lines(4))
    assert len(lines) == 5
    assert lines[-1] == "... and 5 more"
    assert len(list(plan_of(wanted, tree_of()).objects())) == 9


@pytest.mark.parametrize("seed", range(60))
def test_a_random_plan_leads_to_the_state(seed: int) -> None:
    """A model applies the plan; ephemerals and what they keep or block is all that differs."""
    chance = random.Random(seed)
    wanted, present = random_tree(chance), random_tree(chance)
    plan = plan_of(wanted, present, most=99)
    model = {path: znode_of(present, path) for path in in_order(present, "/")}
    for step in plan.steps:
        before = model.get(step.path)
        if step.kind is StepKind.DELETE:
            assert not any(path.startswith(f"{step.path}/") for path in model)
            assert before is not None
            assert before.stat.version == step.version
            del model[step.path]
            continue
        target = znode_of(wanted, step.path)
        if step.kind is StepKind.CREATE:
            assert before is None
            assert paths.parent_of(step.path) in model
            model[step.path] = target
        elif step.kind is StepKind.SET_DATA:
            assert before is not None
            model[step.path] = before._replace(data=target.data)
        else:
            assert before is not None
            model[step.path] = before._replace(acl=target.acl)
    excused = {*plan.kept_ephemerals, *plan.kept_parents, *plan.blocked}
    reached = {
        path: (found.data, found.acl) for path, found in model.items() if path not in excused
    }
    goal = {
        path: (znode_of(wanted, path).data, znode_of(wanted, path).acl)
        for path in in_order(wanted, "/")
        if path not in {*plan.lost_ephemerals, *excused}
    }
    assert reached == goal
