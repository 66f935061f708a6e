"""Deadlines of calls, on a clock that a test moves."""

from zoolet.jobs.znodes.deadlines import Deadline, Deadlines


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_call_has_one_time_for_all_requests() -> None:
    clock = Clock()
    deadline = Deadline(2.0, "find", clock_s=clock)
    clock.now_s += 1.5
    deadline.answered()
    assert deadline.left_s() == 0.5
    clock.now_s += 5
    assert deadline.left_s() == 0.0
    assert deadline.has_passed()


def test_a_call_about_many_jobs_has_it_for_each_request() -> None:
    clock = Clock()
    deadline = Deadline(2.0, "list", each_request=True, clock_s=clock)
    for _ in range(5):
        clock.now_s += 1.5
        assert not deadline.has_passed()
        deadline.answered()
    clock.now_s += 2.5
    assert deadline.has_passed()


def test_without_a_limit_no_time_passes() -> None:
    deadline = Deadline(None, "wait")
    assert deadline.left_s() is None
    assert not deadline.has_passed()


def test_a_call_inside_a_call_has_the_time_of_the_outer_one() -> None:
    clock, deadlines = Clock(), Deadlines()
    outer = Deadline(None, "the worker", clock_s=clock)
    inner = Deadline(1.0, "find", unknown="it may be", clock_s=clock)
    with deadlines.within(outer), deadlines.within(inner) as current:
        clock.now_s += 50
        assert current is inner
        assert deadlines.current is inner
        assert inner.left_s() is None
    outer = Deadline(1.0, "submit", clock_s=clock)
    with (
        deadlines.within(outer),
        deadlines.within(Deadline(None, "x", unknown="y may be")) as inner,
    ):
        inner.writes()
        clock.now_s += 2
        error = inner.error()
    assert str(error).startswith("submit: the ZooKeeper server did not reply within 1 s.")
    assert str(error).endswith("The outcome is unknown: y may be.")
    assert outer.error().is_outcome_unknown


def test_the_error_says_whether_something_may_have_changed() -> None:
    clock = Clock()
    reading = Deadline(1.0, "find", clock_s=clock)
    writing = Deadline(1.0, "submit", unknown="the job may have been submitted", clock_s=clock)
    assert "changed" not in str(reading.error())
    assert str(writing.error()).endswith("Nothing was changed.")
    assert not writing.error().is_outcome_unknown
    writing.writes()
    assert str(writing.error()).endswith("unknown: the job may have been submitted.")
    assert writing.error().is_outcome_unknown
