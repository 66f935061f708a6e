"""Watches fire once, and go with their watcher."""

from zoolet.core.watches import WatchTable


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
