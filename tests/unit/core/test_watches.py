"""Watches fire once, and go with their watcher."""

from zoolet.core.watches import WatchTable
from zoolet.model.codes import WatchMode


def test_a_watch_fires_once() -> None:
    table: WatchTable[str] = WatchTable()
    table.add("/a", "one")
    table.add("/a", "two")
    table.add("/a", "one")
    table.add("/b", "one")
    assert len(table) == 3
    assert list(table.trigger("/a")) == ["one", "two"]
    assert list(table.trigger("/a")) == []
    assert list(table.trigger("/b")) == ["one"]
    assert len(table) == 0


def test_a_watcher_that_is_gone_is_not_told() -> None:
    table: WatchTable[str] = WatchTable()
    for path in ("/a", "/b"):
        table.add(path, "gone")
    table.add("/a", "there")
    table.forget("gone")
    table.forget("never there")
    assert list(table.trigger("/a")) == ["there"]
    assert list(table.trigger("/b")) == []
    assert len(table) == 0


def test_a_persistent_watch_stays() -> None:
    table: WatchTable[str] = WatchTable()
    table.add("/a", "one", WatchMode.PERSISTENT)
    table.add("/a", "one")
    assert [list(table.trigger("/a")) for _ in range(3)] == [["one"]] * 3
    assert not table.holds("/a", "one", WatchMode.STANDARD)
    assert table.holds("/a", "one", WatchMode.PERSISTENT)
    assert list(table.trigger("/a/b")) == []


def test_a_recursive_watch_hears_of_everything_below_once() -> None:
    table: WatchTable[str] = WatchTable()
    table.add("/", "all", WatchMode.PERSISTENT_RECURSIVE)
    table.add("/a", "some", WatchMode.PERSISTENT_RECURSIVE)
    table.add("/a/b", "some")
    table.add("/a", "one")
    assert list(table.trigger("/a/b")) == ["some", "all"]
    assert list(table.trigger("/a/b/c")) == ["some", "all"]
    assert list(table.trigger("/ab")) == ["all"]
    assert sorted(table.trigger("/a")) == ["all", "one", "some"]
    assert sorted(table.trigger("/a")) == ["all", "some"]


def test_watches_are_removed_by_mode() -> None:
    table: WatchTable[str] = WatchTable()
    for mode in WatchMode:
        table.add("/a", "one", mode)
    assert table.remove("/a", "one", WatchMode.PERSISTENT)
    assert not table.remove("/a", "one", WatchMode.PERSISTENT)
    assert table.holds("/a", "one", WatchMode.PERSISTENT_RECURSIVE)
    assert table.remove("/a", "one")
    assert not table.remove("/a", "one")
    assert not table.holds("/a", "one")
    assert len(table) == 0
    assert list(table.trigger("/a/b")) == []
