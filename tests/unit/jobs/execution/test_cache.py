"""The cache of groups: what is kept, and who loads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from zoolet.jobs.execution.cache import GroupCache, Loaded, size_bytes_of
from zoolet.jobs.loaders import csv_files
from zoolet.jobs.loaders.loading import make_source
from zoolet.jobs.loaders.registry import checked_options


def test_a_group_is_loaded_once_and_found_then() -> None:
    loaded: list[tuple[str, str]] = []

    def load(dataset: str, groupid: str) -> str:
        loaded.append((dataset, groupid))
        return f"{dataset} {groupid}"

    cache = GroupCache({"": load}, 2)
    assert cache.get("d", "1") == Loaded("d 1", cache_hit=False)
    assert cache.get("d", "1") == Loaded("d 1", cache_hit=True)
    assert loaded == [("d", "1")]
    assert cache.held() == {("d", "1")}


def test_the_least_recently_used_group_goes_first() -> None:
    cache = GroupCache({"": lambda dataset, groupid: dataset + groupid}, 2)
    cache.get("d", "1")
    cache.get("d", "2")
    cache.get("d", "1")
    assert cache.get("d", "3").dropped == (("d", "2"),)
    assert cache.held() == {("d", "1"), ("d", "3")}


def test_a_limit_in_bytes_drops_the_least_recently_used() -> None:
    cache = GroupCache({"": lambda _, groupid: bytes(int(groupid))}, 100, limit_bytes=10_000)
    for groupid in ("2000", "3000", "4000"):
        assert cache.get("d", groupid).dropped == ()
    cache.get("d", "2000")
    assert cache.get("d", "4500").dropped == (("d", "3000"), ("d", "4000"))
    assert cache.held() == {("d", "2000"), ("d", "4500")}


def test_a_group_past_the_limit_is_returned_and_not_kept() -> None:
    cache = GroupCache({"": lambda _, groupid: bytes(int(groupid))}, 100, limit_bytes=1000)
    loaded = cache.get("d", "5000")
    assert (len(loaded.group), loaded.dropped) == (5000, (("d", "5000"),))
    assert cache.held() == set()


def test_the_size_of_a_group_is_what_it_says_or_the_sum_of_its_parts() -> None:
    class Says:
        nbytes = 12_345

    class Holds:
        def __init__(self) -> None:
            self.itself = self
            self.parts = [bytes(1000), {"key": bytes(2000)}]

    frame = pd.DataFrame({"x": range(1000), "text": ["y" * 100] * 1000})
    assert size_bytes_of(Says()) == 12_345
    assert 3000 < size_bytes_of(Holds()) < 5000
    assert size_bytes_of(frame) == int(frame.memory_usage(deep=True).sum())
    shared = bytes(10_000)
    assert size_bytes_of([shared, shared]) < 11_000


def test_what_a_loader_raises_is_raised_and_nothing_is_kept() -> None:
    outcomes = iter([OSError("disk"), None])

    def load(_: str, __: str) -> None:
        if (outcome := next(outcomes)) is not None:
            raise outcome

    cache = GroupCache({"": load}, 1)
    with pytest.raises(OSError, match="disk"):
        cache.get("d", "1")
    assert cache.held() == set()
    assert cache.get("d", "1") == Loaded(None, cache_hit=False)


def test_two_executors_load_a_group_once() -> None:
    loading, go_on = threading.Event(), threading.Event()
    loads = 0

    def load(_: str, __: str) -> str:
        nonlocal loads
        loads += 1
        loading.set()
        assert go_on.wait(10)
        return "group"

    cache = GroupCache({"": load}, 1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "d", "1")
        assert loading.wait(10)
        second = pool.submit(cache.get, "d", "1")
        go_on.set()
        assert first.result(10) == Loaded("group", cache_hit=False)
        assert second.result(10) == Loaded("group", cache_hit=True)
    assert loads == 1


def test_a_cache_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        GroupCache({}, 0)


def test_a_group_of_another_source_is_loaded_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    [described] = csv_files.list_groups(str(tmp_path), checked_options("csv", {}), ())

    def source(column: str) -> dict[str, object]:
        return make_source("csv", checked_options("csv", {}), described, [column])

    cache = GroupCache({}, 2)
    assert not cache.can_load(None)
    assert cache.can_load(source("x"))
    assert cache.get("d", "1", source("x")) == Loaded([{"x": "1"}], cache_hit=False)
    assert cache.get("d", "1", source("x")) == Loaded([{"x": "1"}], cache_hit=True)
    assert cache.has("d", "1", source("x"))
    assert not cache.has("d", "1", source("y"))
    assert cache.get("d", "1", source("y")) == Loaded([{"y": "2"}], cache_hit=False)
    assert cache.held() == {("d", "1")}


def test_the_same_names_of_two_queues_are_different_groups() -> None:
    cache = GroupCache({"0/": lambda *name: ["first", *name], "1/": lambda *name: [*name]}, 3)
    assert cache.get("d", "1", None, "0/") == (["first", "d", "1"], False, ())
    assert cache.get("d", "1", None, "1/") == (["d", "1"], False, ())
    assert cache.held() == {("0/d", "1"), ("1/d", "1")}
    assert cache.get("d", "1", None, "0/").cache_hit
    assert not cache.has("d", "1")
    assert not cache.can_load(None, "2/")
    # All queues share the limit.
    cache.get("d", "2", None, "1/")
    assert cache.get("d", "3", None, "0/").dropped == (("1/d", "1"),)
