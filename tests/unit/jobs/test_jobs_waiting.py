"""Which job a worker takes: its own data first, one bounded wait, then the first of all."""

from concurrent.futures import Future, ThreadPoolExecutor

from zoolet.jobs import naming
from zoolet.jobs.naming import JobName
from zoolet.jobs.waiting import WaitingJobs, first_held

LONG_S = 60.0


def names(*texts: str) -> list[JobName]:
    """Return job names in the order of taking; ``9 a 1`` is priority, groupid and sequence."""
    parsed = []
    for text in texts:
        priority, groupid, sequence = text.split()
        name = naming.parse(f"{naming.build(int(priority), 'd', groupid)}{int(sequence):010d}")
        assert name is not None
        parsed.append(name)
    return sorted(parsed, key=lambda name: name.order)


def holding(*groupids: str) -> frozenset[tuple[str, str]]:
    return frozenset(("d", groupid) for groupid in groupids)


def brief(name: JobName | None) -> str | None:
    return None if name is None else f"{name.priority} {name.groupid} {name.sequence}"


def test_among_jobs_whose_data_is_held_priority_and_then_sequence_decide() -> None:
    waiting = names("9 a 1", "5 b 4", "5 b 3", "7 c 9")
    assert brief(first_held(waiting, holding("b"))) == "5 b 3"
    assert brief(first_held(waiting, holding("b", "c"))) == "7 c 9"
    assert first_held(waiting, holding("x")) is None
    assert first_held(waiting, holding()) is None


def test_an_empty_cache_takes_the_first_at_once() -> None:
    waiting = WaitingJobs()
    waiting.replace(names("1 a 1", "9 b 2"))
    assert brief(waiting.next_job(holding, LONG_S)) == "9 b 2"
    assert brief(waiting.next_job(holding, LONG_S)) == "1 a 1"


def test_held_data_goes_before_priority_without_a_wait() -> None:
    waiting = WaitingJobs()
    waiting.replace(names("9 b 1", "1 a 2"))
    assert brief(waiting.next_job(lambda: holding("a"), LONG_S)) == "1 a 2"


def test_after_one_bounded_round_the_first_of_all_is_taken() -> None:
    waiting = WaitingJobs()
    waiting.replace(names("1 b 1", "9 c 2"))
    assert brief(waiting.next_job(lambda: holding("a"), 0.01)) == "9 c 2"


def test_a_round_is_not_waited_again_before_a_job_of_held_data() -> None:
    waiting = WaitingJobs()
    waiting.replace(names("9 c 1", "8 c 2", "1 a 3", "1 d 4"))
    assert brief(waiting.next_job(lambda: holding("x"), 0.01)) == "9 c 1"
    assert brief(waiting.next_job(lambda: holding("x"), LONG_S)) == "8 c 2"
    assert brief(waiting.next_job(lambda: holding("a"), LONG_S)) == "1 a 3"
    assert brief(waiting.next_job(lambda: holding("a"), 0.01)) == "1 d 4"


def test_the_round_ends_as_soon_as_a_job_of_held_data_is_listed() -> None:
    waiting = WaitingJobs()
    waiting.replace(names("9 c 1"))
    with ThreadPoolExecutor(1) as pool:
        taken: Future[JobName | None] = pool.submit(waiting.next_job, lambda: holding("a"), LONG_S)
        waiting.replace(names("9 c 1", "1 a 2"))
        assert brief(taken.result(10)) == "1 a 2"


def test_who_waits_on_an_empty_queue_is_woken_by_a_job() -> None:
    waiting = WaitingJobs()
    with ThreadPoolExecutor(1) as pool:
        taken: Future[JobName | None] = pool.submit(waiting.next_job, holding, LONG_S)
        waiting.replace(names("1 a 1"))
        assert brief(taken.result(10)) == "1 a 1"


def test_a_job_is_given_to_one_executor() -> None:
    waiting = WaitingJobs()
    waiting.replace(names("1 a 1", "1 a 2"))
    first = waiting.next_job(holding, LONG_S)
    second = waiting.next_job(holding, LONG_S)
    assert {brief(first), brief(second)} == {"1 a 1", "1 a 2"}


def test_closing_wakes_who_waits() -> None:
    waiting = WaitingJobs()
    with ThreadPoolExecutor(2) as pool:
        idle: Future[JobName | None] = pool.submit(waiting.next_job, holding, LONG_S)
        waiting.close()
        assert idle.result(10) is None
    waiting.replace(names("1 a 1"))
    assert waiting.next_job(holding, LONG_S) is None
