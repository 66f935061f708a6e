"""The cache of groups: what is kept, and who loads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from zoolet.jobs.cache import GroupCache


def test_a_group_is_loaded_once_and_found_then() -> None:
    loaded: list[tuple[str, str]] = []

    def load(dataset: str, groupid: str) -> str:
        loaded.append((dataset, groupid))
        return f"{dataset} {groupid}"

    cache = GroupCache(load, 2)
    assert cache.get("d", "1") == ("d 1", False)
    assert cache.get("d", "1") == ("d 1", True)
    assert loaded == [("d", "1")]
    assert cache.held() == {("d", "1")}


def test_the_least_recently_used_group_goes_first() -> None:
    cache = GroupCache(lambda dataset, groupid: dataset + groupid, 2)
    cache.get("d", "1")
    cache.get("d", "2")
    cache.get("d", "1")
    cache.get("d", "3")
    assert cache.held() == {("d", "1"), ("d", "3")}


def test_what_a_loader_raises_is_raised_and_nothing_is_kept() -> None:
    outcomes = iter([OSError("disk"), None])

    def load(_: str, __: str) -> None:
        if (outcome := next(outcomes)) is not None:
            raise outcome

    cache = GroupCache(load, 1)
    with pytest.raises(OSError, match="disk"):
        cache.get("d", "1")
    assert cache.held() == set()
    assert cache.get("d", "1") == (None, False)


def test_two_executors_load_a_group_once() -> None:
    loading, go_on = threading.Event(), threading.Event()
    loads = 0

    def load(_: str, __: str) -> str:
        nonlocal loads
        loads += 1
        loading.set()
        assert go_on.wait(10)
        return "group"

    cache = GroupCache(load, 1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "d", "1")
        assert loading.wait(10)
        second = pool.submit(cache.get, "d", "1")
        go_on.set()
        assert first.result(10) == ("group", False)
        assert second.result(10) == ("group", True)
    assert loads == 1


def test_a_cache_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        GroupCache(lambda _, __: None, 0)
