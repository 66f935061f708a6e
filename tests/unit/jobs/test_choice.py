"""Which waiting job a worker takes."""

from zoolet.jobs.choice import choose, in_order
from zoolet.jobs.naming import GroupKey

WAITING = in_order(
    [
        "entry-100-d:a-0000000003",
        "not a job",
        "entry-900-d:b-0000000002",
        "entry-900-d:c-0000000001",
        "entry-100-d:a-0000000000",
    ]
)


def test_jobs_are_due_by_priority_then_age() -> None:
    assert [job.parts.sequence for job in WAITING] == [1, 2, 0, 3]


def test_without_data_the_first_of_all_is_taken() -> None:
    assert choose(WAITING, []) == ("entry-900-d:c-0000000001", False)


def test_jobs_on_held_data_go_first_the_most_important_of_them() -> None:
    held = {GroupKey("d", "a"), GroupKey("other", "b")}
    assert choose(WAITING, held) == ("entry-100-d:a-0000000000", True)


def test_jobs_being_taken_are_passed_over() -> None:
    first = choose(WAITING, [])
    assert first is not None
    assert choose(WAITING, [], {first.name}) == ("entry-900-d:b-0000000002", False)
    assert choose(WAITING, [], {job.name for job in WAITING}) is None
    assert choose([], []) is None
