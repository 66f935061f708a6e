"""Watches fire once, and go with their watcher."""

from zoolet.core.watches import Watcher, WatchTable
from zoolet.model.codes import WatchMode

ONE, TWO, ALL, SOME, GONE, THERE = (Watcher() for _ in range(6))


def test_a_watch_fires_once() -> None:
    table = WatchTable()
    table.add("/a", ONE)
    table.add("/a", TWO)
    table.add("/a", ONE)
    table.add("/b", ONE)
    assert len(table) == 3
    assert list(table.trigger("/a")) == [ONE, TWO]
    assert list(table.trigger("/a")) == []
    assert list(table.trigger("/b")) == [ONE]
    assert len(table) == 0


def test_a_watcher_that_is_gone_is_not_told() -> None:
    table = WatchTable()
    for path in ("/a", "/b"):
        table.add(path, GONE)
    table.add("/a", THERE)
    for watcher in (GONE, Watcher()):
        assert list(table.forget(watcher)) == []
    assert list(table.trigger("/a")) == [THERE]
    assert list(table.trigger("/b")) == []
    assert len(table) == 0


def test_a_persistent_watch_stays() -> None:
    table = WatchTable()
    table.add("/a", ONE, WatchMode.PERSISTENT)
    table.add("/a", ONE)
    assert [list(table.trigger("/a")) for _ in range(3)] == [[ONE]] * 3
    assert not table.holds("/a", ONE, WatchMode.STANDARD)
    assert table.holds("/a", ONE, WatchMode.PERSISTENT)
    assert list(table.trigger("/a/b")) == []


def test_a_recursive_watch_hears_of_everything_below_once() -> None:
    table = WatchTable()
    table.add("/", ALL, WatchMode.PERSISTENT_RECURSIVE)
    table.add("/a", SOME, WatchMode.PERSISTENT_RECURSIVE)
    table.add("/a/b", SOME)
    table.add("/a", ONE)
    assert list(table.trigger("/a/b")) == [SOME, ALL]
    assert list(table.trigger("/a/b/c")) == [SOME, ALL]
    assert list(table.trigger("/ab")) == [ALL]
    assert set(table.trigger("/a")) == {ALL, ONE, SOME}
    assert set(table.trigger("/a")) == {ALL, SOME}


def test_watches_are_removed_by_mode() -> None:
    table = WatchTable()
    for mode in WatchMode:
        table.add("/a", ONE, mode)
    assert table.remove("/a", ONE, WatchMode.PERSISTENT)
    assert not table.remove("/a", ONE, WatchMode.PERSISTENT)
    assert table.holds("/a", ONE, WatchMode.PERSISTENT_RECURSIVE)
    assert table.remove("/a", ONE)
    assert not table.remove("/a", ONE)
    assert not table.holds("/a", ONE)
    assert len(table) == 0
    assert list(table.trigger("/a/b")) == []
