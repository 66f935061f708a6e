"""Which jobs may start: slots, turns, and the starts per second in simulated time."""

import random
from typing import Any

import pytest

from zoolet.jobs import Job, JobRequest, Limit
from zoolet.jobs.limits.admission import FREE, Admission, LimitState, NextStart
from zoolet.jobs.znodes.operations import Create, SetData

NOW_MS = 1_800_000_000_000


class Znodes:
    """The paths of a queue at ``/q``."""

    @staticmethod
    def path(*names: str) -> str:
        return "/".join(("/q", *names))


class Layout:
    """The part of a layout that an admission uses."""

    znodes = Znodes()


LAYOUT: Any = Layout()


def job(key: str | None = None, **changes: Any) -> Job:
    draft = Job.draft(JobRequest("m:f", "d", "1", limit_key=key), "s-0", NOW_MS)
    return draft._replace(name=f"{draft.name}0000000000", **changes)


def admission(*states: LimitState, now_ms: int = NOW_MS) -> Admission:
    return Admission(LAYOUT, states, now_ms)


def test_a_job_gets_the_least_free_slot_of_each_limit() -> None:
    first = LimitState(Limit("a", concurrent=3), ["all-0", "all-2", "unknown"])
    second = LimitState(Limit("b", concurrent=2, per_key=True), ["=other-0"])
    judge = admission(first, second).judge
    verdict = judge(job("k"))
    assert verdict.limit is None
    assert verdict.slots == ("a/slots/all-1", "b/slots/=k-0")
    name = job().name.encode()
    assert verdict.claims == (
        Create("/q/limits/a/slots/all-1", name),
        Create("/q/limits/b/slots/=k-0", name),
    )
    assert judge(job("k")).limit == "a"


def test_a_job_that_must_wait_claims_nothing() -> None:
    first = LimitState(Limit("a", concurrent=2))
    second = LimitState(Limit("b", concurrent=1, key="k"), ["all-0"])
    judge = admission(first, second).judge
    assert judge(job("k")) == ("b", (), ())
    assert judge(job("x")).slots == ("a/slots/all-0",)


def test_a_job_without_limits_is_free() -> None:
    judge = admission(LimitState(Limit("a", concurrent=1, task="m:g"))).judge
    assert judge(job()) is FREE


def test_no_job_passes_the_waiting_jobs_except_a_released_one() -> None:
    judge = admission(LimitState(Limit("a", concurrent=2), [], ["=k"])).judge
    assert judge(job()).limit == "a"
    assert judge(job(limit="a")).limit is None
    each = Limit("each", concurrent=2, per_key=True)
    judge = admission(LimitState(each, [], ["=k"])).judge
    assert judge(job("k")).limit == "each"
    assert judge(job("x")).limit is None


def test_after_a_job_that_must_wait_the_next_one_waits_too() -> None:
    state = LimitState(Limit("a", concurrent=1), ["all-0"])
    judge = admission(state).judge
    assert judge(job()).limit == "a"
    state.used.clear()
    assert judge(job()).limit == "a"


def test_starts_of_one_multi_have_consecutive_versions() -> None:
    state = LimitState(Limit("r", per_second=10, burst=3))
    judge = admission(state).judge
    claims = [operation for _ in range(3) for operation in judge(job()).claims]
    path = "/q/limits/r/next/all"
    at_us = NOW_MS * 1000
    assert claims == [
        Create(path, str(at_us + 100_000).encode()),
        SetData(path, str(at_us + 200_000).encode(), 0),
        SetData(path, str(at_us + 300_000).encode(), 1),
    ]
    assert judge(job()).limit == "r"


@pytest.mark.parametrize(("seed", "rate"), [(1, 20), (2, 8)])
def test_the_starts_of_any_ten_seconds_are_limited(seed: int, rate: int) -> None:
    """Eight workers read, decide, and write after random delays, in simulated time."""
    chance = random.Random(seed)
    limit = Limit("r", per_second=rate)
    value = NextStart()
    starts: list[int] = []
    pending: list[tuple[int, int, int | None, list[bytes]]] = []
    now_ms, end_ms = NOW_MS, NOW_MS + 30_000
    while now_ms < end_ms:
        now_ms += chance.randrange(20) if chance.random() < 0.999 else 5000
        arrived = [one for one in pending if one[0] <= now_ms]
        pending = [one for one in pending if one[0] > now_ms]
        for _, _, version, times in arrived:
            # The server refuses a multi whose version is not that of the znode.
            if version == value.version:
                value.time_us = int(times[-1])
                value.version = (-1 if version is None else version) + len(times)
                starts += [now_ms] * len(times)
        while len(pending) < 8:
            state = LimitState(limit)
            state.starts["all"] = NextStart(value.time_us, value.version)
            judge = admission(state, now_ms=now_ms + chance.randrange(-5, 6)).judge
            some = [v for _ in range(chance.randint(1, 9)) if (v := judge(job())).limit is None]
            times = [claim.data for verdict in some for claim in verdict.claims]  # type: ignore[union-attr]
            delay_ms = chance.randrange(30) if chance.random() < 0.99 else 3000
            if times:
                pending.append((now_ms + delay_ms, now_ms, value.version, times))
            else:
                break
    most = max(sum(at <= one < at + 10_000 for one in starts) for at in set(starts))
    assert most <= 1.05 * rate * 10
    assert len(starts) >= 0.5 * rate * 30
