"""The histograms of latencies: what each bucket counts, and the sums beside them."""

import random

import pytest

from zoolet.server.common.stats import Histogram

BOUNDS_MS = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]


def test_an_empty_histogram_has_all_buckets_at_0() -> None:
    histogram = Histogram()
    bounds = [*(f"{bound_ms}.0" for bound_ms in BOUNDS_MS), "+Inf"]
    assert histogram.cumulative() == [(bound, 0) for bound in bounds]
    assert (histogram.count, histogram.total_ms) == (0, 0)


@pytest.mark.parametrize("bound_ms", BOUNDS_MS)
def test_a_duration_at_a_bound_belongs_to_that_bucket(bound_ms: int) -> None:
    histogram = Histogram()
    histogram.add(bound_ms)
    counts = dict(histogram.cumulative())
    assert [counts[f"{each}.0"] for each in BOUNDS_MS] == [each >= bound_ms for each in BOUNDS_MS]


@pytest.mark.parametrize("bound_ms", BOUNDS_MS)
def test_a_duration_above_a_bound_does_not_belong_to_that_bucket(bound_ms: int) -> None:
    histogram = Histogram()
    histogram.add(bound_ms + 1)
    counts = dict(histogram.cumulative())
    assert counts[f"{bound_ms}.0"] == 0
    assert counts["+Inf"] == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_histogram_says_what_a_list_of_all_durations_says(seed: int) -> None:
    chance = random.Random(seed)
    histogram = Histogram()
    durations_ms: list[int] = []
    for _ in range(chance.randrange(1, 200)):
        near_bound = max(0, chance.choice(BOUNDS_MS) + chance.randint(-1, 1))
        duration_ms = chance.choice([near_bound, chance.randrange(30_000)])
        times = chance.choice([0, 1, 1, chance.randrange(1000)])
        histogram.add(duration_ms, times)
        durations_ms += [duration_ms] * times
        assert histogram.count == len(durations_ms)
        assert histogram.total_ms == sum(durations_ms)
    expected = [
        (f"{bound_ms}.0", sum(each <= bound_ms for each in durations_ms)) for bound_ms in BOUNDS_MS
    ]
    assert histogram.cumulative() == [*expected, ("+Inf", len(durations_ms))]
