"""The attempts of a job, from its errors and its output."""

from zoolet.jobs import (
    AttemptError,
    AttemptOutput,
    Job,
    JobRequest,
    attempt_duration_ms,
    attempts_of,
)


def test_errors_and_output_of_an_attempt_belong_together() -> None:
    job = Job.draft(JobRequest("m:f"), "s", 1)._replace(
        errors=(
            AttemptError(0, "", "lost"),
            AttemptError(2, "w2", "ValueError: no"),
            AttemptError(2, "w3", "cancelled"),
        ),
        output=(AttemptOutput(1, "w1", "hello"), AttemptOutput(2, "w2", "bye")),
    )
    found = attempts_of(job)
    assert [(one.attempt, one.worker, one.output) for one in found] == [
        (0, "", ""),
        (1, "w1", "hello"),
        (2, "w2", "bye"),
    ]
    assert [error.message for error in found[2].errors] == ["ValueError: no", "cancelled"]
    assert found[1].errors == ()
    assert attempts_of(Job.draft(JobRequest("m:f"), "s", 1)) == []


def test_the_duration_ends_with_the_attempt() -> None:
    job = Job.draft(JobRequest("m:f"), "s", 1)
    assert attempt_duration_ms(job, 100) is None
    running = job._replace(started_ms=40)
    assert attempt_duration_ms(running, 100) == 60
    assert attempt_duration_ms(running._replace(finished_ms=50), 100) == 10
    assert attempt_duration_ms(running, 30) == 0
