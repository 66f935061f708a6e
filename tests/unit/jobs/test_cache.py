"""The groups that a worker keeps."""

import threading

import pytest

from zoolet.jobs.cache import GroupCache
from zoolet.jobs.naming import GroupKey

A, B, C = (GroupKey("d", name) for name in "abc")


def test_a_group_is_loaded_once_and_the_least_recently_used_is_dropped() -> None:
    loads: list[GroupKey] = []

    def load(key: GroupKey) -> str:
        loads.append(key)
        return key.groupid

    cache = GroupCache(load, max_groups=2)
    assert cache.get(A) == ("a", False)
    assert cache.get(B) == ("b", False)
    assert cache.get(A) == ("a", True)
    cache.get(C)
    assert cache.keys() == {A, C}
    assert B not in cache
    assert cache.get(B) == ("b", False)
    assert loads == [A, B, C, B]


def test_two_executors_load_a_group_once() -> None:
    began, go = threading.Event(), threading.Event()
    loads = 0

    def load(_key: GroupKey) -> str:
        nonlocal loads
        loads += 1
        began.set()
        assert go.wait(5)
        return "group"

    cache = GroupCache(load, max_groups=2)
    found: list[tuple[object, bool]] = []
    threads = [threading.Thread(target=lambda: found.append(cache.get(A))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert began.wait(5)
    go.set()
    for thread in threads:
        thread.join(5)
    assert loads == 1
    assert sorted(cached for _, cached in found) == [False, True, True]


def test_a_loader_that_fails_is_asked_again() -> None:
    asked = 0

    def load(_key: GroupKey) -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise OSError("no disk")
        return "group"

    cache = GroupCache(load, max_groups=2)
    with pytest.raises(OSError, match="no disk"):
        cache.get(A)
    assert cache.get(A) == ("group", False)
