"""The table of watches: what each event triggers, and what is set again after a reconnect."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from zoolet.client.protocol.watches import (
    CHILD,
    DATA,
    EXIST,
    PERSISTENT,
    RECURSIVE,
    Watcher,
    WatchTable,
)
from zoolet.model.codes import EventType, WatcherType
from zoolet.model.requests import SetWatches

CREATED, DELETED = EventType.NODE_CREATED, EventType.NODE_DELETED
CHANGED, CHILDREN = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED
KINDS = {"data": DATA, "exist": EXIST, "child": CHILD, "lasting": PERSISTENT, "subtree": RECURSIVE}
LIMIT_BYTES = 128 * 1024


def watcher(path: str, kind: int) -> Watcher:
    return Watcher(path, kind, path, print)


def table_of(*watchers: Watcher) -> WatchTable:
    table = WatchTable()
    for one in watchers:
        table.add(one)
    assert len(table) == len(watchers)
    return table


@pytest.mark.parametrize(
    ("event_type", "triggered"),
    [
        (CREATED, {"data", "exist", "lasting", "subtree"}),
        (CHANGED, {"data", "exist", "lasting", "subtree"}),
        (DELETED, {"data", "exist", "child", "lasting", "subtree"}),
        (CHILDREN, {"child", "lasting"}),
    ],
)
def test_an_event_triggers_the_kinds_of_its_type(
    event_type: EventType, triggered: set[str]
) -> None:
    watchers = {name: watcher("/a", kind) for name, kind in KINDS.items()}
    table = table_of(*watchers.values())
    wanted = {watchers[name] for name in triggered}
    found = table.triggered(event_type, "/a")
    assert set(found) == wanted
    assert len(found) == len(wanted)
    lasting = {watchers["lasting"], watchers["subtree"]}
    assert set(table.triggered(event_type, "/a")) == wanted & lasting
    assert len(table) == 5 - len(wanted - lasting)


@pytest.mark.parametrize("path", ["/a/b", "/", "/ab", "/a/"])
@pytest.mark.parametrize("event_type", EventType)
def test_an_event_of_another_path_triggers_only_recursive_watches(
    event_type: EventType, path: str
) -> None:
    watchers = [watcher("/a", kind) for kind in KINDS.values()]
    table = table_of(*watchers)
    is_below = path.startswith("/a/") and event_type is not CHILDREN
    assert table.triggered(event_type, path) == ([watchers[4]] if is_below else [])
    assert len(table) == 5


def test_a_recursive_watch_gets_the_events_of_its_subtree() -> None:
    root, upper, lower = (watcher(path, RECURSIVE) for path in ("/", "/a", "/a/b"))
    table = table_of(root, upper, lower)
    assert set(table.triggered(CREATED, "/a/b/c")) == {root, upper, lower}
    assert set(table.triggered(CHANGED, "/a/b")) == {root, upper, lower}
    assert set(table.triggered(DELETED, "/a")) == {root, upper}
    assert table.triggered(CHANGED, "/") == [root]
    assert table.triggered(DELETED, "/b/a/b") == [root]
    for path in ("/", "/a", "/a/b"):
        assert table.triggered(CHILDREN, path) == []


@pytest.mark.parametrize("path", ["", "a", "abc", "a/b", "//", "/a//b", "///"])
def test_an_event_with_an_invalid_path(path: str) -> None:
    table = table_of(watcher("/", RECURSIVE))
    assert len(table.triggered(CHANGED, path)) == 1


def test_several_watchers_of_one_path() -> None:
    first, second, lasting = watcher("/a", DATA), watcher("/a", DATA), watcher("/a", PERSISTENT)
    table = table_of(first, second, lasting)
    assert table.triggered(CHANGED, "/a") == [first, second, lasting]
    assert len(table) == 1


def test_a_data_watch_of_a_missing_znode_becomes_an_exist_watch() -> None:
    table = WatchTable()
    missing, child = watcher("/a", DATA), watcher("/a", CHILD)
    table.add(missing, exists=False)
    table.add(child, exists=False)
    assert (missing.kind, child.kind) == (EXIST, CHILD)
    [request] = table.set_watches(7)
    assert request == SetWatches(7, (), ("/a",), ("/a",))
    assert table.triggered(CREATED, "/a") == [missing]


@pytest.mark.parametrize("kind", KINDS.values())
def test_discard(kind: int) -> None:
    first, second = watcher("/a", kind), watcher("/a", kind)
    table = table_of(first, second)
    assert not table.discard(watcher("/a", kind))
    assert not table.discard(watcher("/b", kind))
    assert len(table) == 2
    assert not table.discard(first)
    assert not table.discard(first)
    assert len(table) == 1
    assert table.discard(second)
    assert len(table) == 0
    assert list(table.set_watches(1)) == []
    assert table.triggered(CHANGED, "/a") == []


@pytest.mark.parametrize(
    ("watcher_type", "removed"),
    [
        (WatcherType.CHILDREN, {"child"}),
        (WatcherType.DATA, {"data", "exist"}),
        (WatcherType.ANY, set(KINDS)),
        (WatcherType.PERSISTENT, {"lasting"}),
        (WatcherType.PERSISTENT_RECURSIVE, {"subtree"}),
    ],
)
def test_remove(watcher_type: WatcherType, removed: set[str]) -> None:
    watchers = {name: watcher("/a", kind) for name, kind in KINDS.items()}
    others = [watcher("/a/b", kind) for kind in KINDS.values()]
    table = table_of(*watchers.values(), *others)
    found = table.remove("/a", watcher_type.value)
    assert Counter(found) == Counter(watchers[name] for name in removed)
    assert len(table) == 10 - len(removed)
    assert table.remove("/a", watcher_type.value) == []


def test_every_type_of_watcher_can_be_removed() -> None:
    for watcher_type in WatcherType:
        assert WatchTable().remove("/a", watcher_type.value) == []
    for event_type in EventType:
        assert WatchTable().triggered(event_type.value, "/a") == []


def test_drop_one_shot() -> None:
    watchers = [watcher("/a", kind) for kind in KINDS.values()]
    table = table_of(*watchers, watcher("/b", DATA))
    assert set(table.drop_one_shot()) > set(watchers[:3])
    assert len(table) == 2
    assert table.drop_one_shot() == []
    assert set(table.triggered(CHANGED, "/a")) == set(watchers[3:])


def test_resync() -> None:
    lasting, subtree, data = (watcher("/a", kind) for kind in (PERSISTENT, RECURSIVE, DATA))
    table = table_of(lasting, subtree, data)
    assert table.end_resync() == []
    table.begin_resync()
    late = watcher("/b", PERSISTENT)
    table.add(late)
    assert table.end_resync() == [lasting, subtree]
    assert table.end_resync() == []
    table.begin_resync()
    table.remove("/a", WatcherType.PERSISTENT)
    table.add(watcher("/a", PERSISTENT))
    table.discard(subtree)
    assert table.end_resync() == [late]


def test_set_watches_has_each_path_once() -> None:
    watchers = [watcher(path, kind) for kind in KINDS.values() for path in ("/a", "/a", "/é")]
    [request] = table_of(*watchers).set_watches(99)
    both = ("/a", "/é")
    assert request == SetWatches(99, both, both, both, both, both)
    assert list(WatchTable().set_watches(99)) == []


def size_of(request: SetWatches) -> int:
    """Return the number of bytes of the paths in a request."""
    return sum(len(path.encode()) + 4 for path in paths_of(request))


def paths_of(request: SetWatches) -> list[str]:
    return [path for listed in request[1:] for path in listed]


def test_a_path_at_the_limit() -> None:
    whole = "/" + "x" * (LIMIT_BYTES - 5)
    table = table_of(watcher(whole, DATA))
    assert len(list(table.set_watches(1))) == 1
    table.add(watcher("/b", DATA))
    assert [paths_of(request) for request in table.set_watches(1)] == [[whole], ["/b"]]


@pytest.mark.parametrize("seed", range(5))
def test_set_watches_is_split_below_the_limit(seed: int) -> None:
    """Long paths, also of several bytes a character, in all kinds; each request is small."""
    chance = random.Random(seed)
    letters = "aé漢"
    watchers = [
        watcher(
            f"/{number}" + chance.choice(letters) * chance.choice([3, 900, 9000, 50_000]),
            chance.choice(list(KINDS.values())),
        )
        for number in range(300)
    ]
    table = table_of(*watchers)
    requests = list(table.set_watches(5))
    for request in requests:
        assert size_of(request) <= LIMIT_BYTES or len(paths_of(request)) == 1, f"seed {seed}"
        assert request.relative_zxid == 5
    for kind, listed in enumerate(zip(*[request[1:] for request in requests], strict=True)):
        found = [path for part in listed for path in part]
        assert sorted(found) == sorted(one.path for one in watchers if one.kind == kind)
    for before, after in pairwise(requests):
        first = len(paths_of(after)[0].encode()) + 4
        assert size_of(before) + first > LIMIT_BYTES, "the requests are smaller than necessary"
