"""A job's value: what is JSON, what fits, and that what is written is read."""

import json
import math
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records import job as job_module
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_outcomes import with_error
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.job_values import TIME_LIMIT_MS
from zoolet.jobs.records.json_values import EncodedJson
from zoolet.jobs.records.transitions import STATES_IN, JobState, Place
from zoolet.jobs.znodes.job_znodes import Znode, read_job

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


def draft(**changes: Any) -> Job:
    request = JobRequest(**{"task": "m:f", "dataset": "flights", "groupid": "7"} | changes)
    return named(Job.draft(request, "s1", 1000))


def named(draft: Job) -> Job:
    return draft._replace(name=f"{draft.name}0000000001")


@given(st.dictionaries(st.text(), json_values), json_values)
def test_what_is_encoded_is_decoded(parameters: dict[str, Any], result: Any) -> None:
    job = draft(parameters=parameters)._replace(worker="w", result=result, cache_hit=True)
    job = with_error(with_error(job, "no"), "still no")
    assert Job.decode(job.name, job.encode(), job.version) == job


def test_the_value_has_the_keys_that_its_users_know() -> None:
    value = json.loads(draft(priority=5, parameters={"a": 1}).encode())
    assert {key: value[key] for key in ("dataset", "groupid", "state", "worker")} == {
        "dataset": "flights",
        "groupid": "7",
        "state": "PENDING",
        "worker": None,
    }
    assert value["priority"] == 5
    assert value["parameters"] == {"a": 1}
    assert value["submitted_ms"] == 1000
    assert "name" not in value
    assert "version" not in value


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (math.nan, r"parameters\['x'\] is nan"),
        (math.inf, r"parameters\['x'\] is inf"),
        ({1: 2}, "names in a JSON object must be texts"),
        ([1, {2}], r"parameters\['x'\]\[1\] is of type builtins.set"),
        (b"bytes", "builtins.bytes"),
    ],
)
def test_refuses_parameters_that_are_not_json(value: object, complaint: str) -> None:
    with pytest.raises(InvalidJobError, match=complaint):
        draft(parameters={"x": value})


def test_refuses_what_json_cannot_write() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for value in (circle, 10**5000):
        with pytest.raises(
            InvalidJobError, match=r"parameters.* is (nested deeper|an integer of more)"
        ):
            draft(parameters={"x": value})


@pytest.mark.parametrize(
    "changes",
    [{"task": ""}, {"task": None}, {"parameters": [1]}, {"max_attempts": 0}, {"max_attempts": 21},
     {"max_attempts": "3"}, {"priority": 1000}, {"dataset": ""}, {"groupid": ""}],
)  # fmt: skip
def test_refuses_a_request_that_cannot_be_a_job(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError):
        draft(**changes)


def test_refuses_a_job_past_the_size_limit_and_takes_one_at_it() -> None:
    room = job_module.JOB_LIMIT_BYTES - len(draft(parameters={"x": ""}).encode())
    assert len(draft(parameters={"x": "y" * room}).encode()) == job_module.JOB_LIMIT_BYTES
    with pytest.raises(InvalidJobError, match=f"at most {job_module.JOB_LIMIT_BYTES}"):
        draft(parameters={"x": "y" * (room + 1)})


def test_a_result_that_is_encoded_is_written_as_it_is() -> None:
    job = draft().taken("w", 1).succeeded(2, EncodedJson(b'{"a": [1e2]}'))
    assert b'"result":{"a": [1e2]}' in job.encode()
    assert Job.decode(job.name, job.encode(), 0) == job._replace(result={"a": [100.0]})
    with pytest.raises(InvalidJobError, match="at most"):
        draft().succeeded(2, EncodedJson(b'"%s"' % (b"x" * job_module.JOB_LIMIT_BYTES)))


def test_the_same_work_has_the_same_key() -> None:
    work = JobRequest("m:f", "d", "g", {"a": 1, "b": [2]})
    assert work.key == JobRequest("m:f", "d", "g", {"b": [2], "a": 1}, priority=9).key
    others = [
        replace(work, task="m:g"),
        replace(work, dataset="e"),
        replace(work, groupid="h"),
        replace(work, parameters={"a": 1, "b": [3]}),
    ]
    assert len({work.key, *(other.key for other in others)}) == 5


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"1", b"[]", b"{}", b'{"state": "ASLEEP", "errors": []}']
)
def test_what_is_no_job_says_so(value: bytes) -> None:
    with pytest.raises(UnreadableJobError, match="the value of entry-000-d:g-1 is not a valid job"):
        Job.decode("entry-000-d:g-1", value, 0)


def test_waiting_again_it_is_no_ones() -> None:
    job = draft()._replace(state=JobState.RUNNING, worker="w", taken_ms=1, started_ms=2, version=2)
    waiting = with_error(job, "no").waiting()
    assert (waiting.state, waiting.worker, waiting.taken_ms, waiting.started_ms) == (
        JobState.PENDING,
        None,
        None,
        None,
    )
    assert waiting.version == waiting.attempts == 1


# --- What becomes of a job


def drafted(**changes: Any) -> Job:
    values = {"task": "m:f", "dataset": "d", "groupid": "g"} | changes
    return named(Job.draft(JobRequest(**values), "s-0", 1000))


@pytest.mark.parametrize(
    "changes",
    [
        {"backoff_ms": -1},
        {"timeout_ms": 0},
        {"timeout_ms": True},
        {"not_before_ms": 1.5},
        {"expires_ms": "tomorrow"},
        {"idempotency_key": 7},
    ],
)
def test_a_request_of_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError, match=next(iter(changes))):
        drafted(**changes)


def test_what_was_asked_for_is_in_the_value_and_nothing_else() -> None:
    plain = json.loads(drafted().encode())
    assert not {"backoff_ms", "timeout_ms", "batch", "chained", "stored"} & plain.keys()
    assert (plain["attempts"], plain["errors"], plain["result"]) == (0, [], None)
    job = drafted(backoff_ms=5, timeout_ms=7, not_before_ms=9, expires_ms=11)
    assert Job.decode(job.name, job.encode(), 0) == job


def test_a_decision_ends_a_job_and_is_no_attempt() -> None:
    ended = drafted().ended_by(5, "it was cancelled")
    assert (ended.state, ended.attempts, ended.finished_ms) == (JobState.FAILED, 0, 5)
    assert ended.last_error == "it was cancelled"


def test_an_idempotency_key_is_all_that_identifies_the_work() -> None:
    one = JobRequest("m:f", "d", "1", idempotency_key="k")
    other = JobRequest("m:g", "e", "2", {"x": 1}, idempotency_key="k")
    assert one.key == other.key != JobRequest("m:f", "d", "1").key


@pytest.mark.parametrize(
    "parameters",
    [{"x": "y" * 61}, {"x": [[1]]}, {"x": list(range(20))}, {"x": 1 << 70}, {"k" * 61: 1}],
)
def test_what_may_be_large_is_measured(parameters: dict[str, Any]) -> None:
    assert drafted(parameters=parameters).is_large
    assert not drafted(parameters={"x": "y", "n": 2**40, "f": 1.5, "b": None}).is_large


def test_what_is_not_measured_fits_fifty_times_into_a_request() -> None:
    widest = {f"{'ü' * 58}{n}": "\U0001f600" * 60 for n in range(8)}
    job = drafted(parameters=widest).succeeded(1, widest)
    assert not job.is_large
    assert 50 * job.size_bytes < 1024 * 1024


# --- Limits of what is submitted


@pytest.mark.parametrize("name", ["not_before_ms", "expires_ms"])
def test_a_time_in_nanoseconds_is_refused_with_the_limit_and_what_to_write(name: str) -> None:
    with pytest.raises(InvalidJobError, match=rf"{name} .* to {TIME_LIMIT_MS} .*// 1_000_000"):
        drafted(**{name: time.time_ns()})
    assert getattr(drafted(**{name: TIME_LIMIT_MS}), name) == TIME_LIMIT_MS


@pytest.mark.parametrize(
    "changes",
    [
        {"not_before_ms": TIME_LIMIT_MS + 1}, {"expires_ms": 10**4000}, {"backoff_ms": 86_400_001},
        {"timeout_ms": 366 * 86_400_000}, {"max_attempts": True}, {"task": "m:f" * 200},
        {"task": "m:\ud800"}, {"not_before_ms": -1},
    ],
)  # fmt: skip
def test_a_value_past_a_limit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError, match=next(iter(changes))):
        drafted(**changes)


# --- Values that any program may have written

odd_values: st.SearchStrategy[Any] = json_values | st.sampled_from(
    [2**63, -1, 10**30, 1e300, "\ud800", "a/b", "..", "", "x" * 3000, [1] * 100, [{}], True, None]
)
changed_fields = st.dictionaries(
    st.sampled_from([*json.loads(drafted().encode()), "not_before_ms", "batch", "chained", "new"]),
    odd_values,
    max_size=3,
)


def assert_harmless(place: Place, name: str, value: bytes) -> Job:
    """Fail unless the value reads as a job that can stand here, or that can only be ended."""
    job = read_job(place, name, Znode(value, 3, 0, 1000))
    if job.is_stand_in:
        assert job.state is JobState.FAILED
    else:
        assert job.state in STATES_IN[place]
    ended = job.gave_up(2000) if not job.has_ended else job
    again = read_job(Place.DONE, name, Znode(ended.encode(), ended.version, 0, 1000))
    assert again == ended
    assert len(ended.encode()) < 0xFFFFF - 4096
    json.dumps([job.name, job.task, job.batch, job.worker, job.key]).encode()
    return job


@given(
    st.sampled_from([Place.UNOWNED, Place.OWNED, Place.DONE]),
    changed_fields,
    st.sets(st.text(), max_size=1),
)
def test_no_field_of_another_program_does_harm(
    place: Place, changes: dict[str, Any], missing: set[str]
) -> None:
    job = drafted()
    value = json.loads(job.encode()) | changes
    value = {key: item for key, item in value.items() if key not in missing}
    assert_harmless(place, job.name, json.dumps(value).encode())


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_value_of_another_program_does_harm(value: bytes) -> None:
    for place in (Place.UNOWNED, Place.OWNED, Place.DONE):
        assert assert_harmless(place, drafted().name, value).is_stand_in


def written(**changes: Any) -> bytes:
    """Return a job's value as another program may write it; ensure_ascii is not its way."""
    return json.dumps(json.loads(drafted().encode()) | changes, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (written(attempts=-1), "attempts is -1"),
        (written(attempts=10**9), "attempts is 1000000000"),
        (written(not_before_ms=10**18), "not_before_ms is"),
        (written(errors="no"), "errors is 'no', which is not a list"),
        (
            written(errors=[{"attempt": 1}]),
            "in which attempt, worker or message is missing or invalid",
        ),
        (written(errors=[{"attempt": 1, "worker": "w", "message": ""}] * 65), "65 errors"),
        (written(dataset="other"), "its name says"),
        (written(priority=7), "its name says"),
        (written(parameters=[1]), "parameters is"),
        (
            written(state="SUCCESSFUL"),
            "is in unowned, but its value says that its state is SUCCESSFUL",
        ),
        (written(batch="a/b"), "batch is 'a/b'"),
        (written(key="../settings"), "key is"),
        (written(parameters={"x": "\u00fc" * 400_000}), "bytes of JSON"),
        (b'{"dataset": "d", "groupid": "g", "state": "PENDING", "worker": null}', "it lacks"),
        (b"[" * 100_000, "nested too deep"),
        (b"x" * (1024 * 1024), "is not a valid job"),
        (b'{"x": NaN}', "NaN is not JSON"),
        (b"", "is not a valid job"),
    ],
)
def test_an_unreadable_value_is_a_failed_job_that_says_why(value: bytes, complaint: str) -> None:
    job = assert_harmless(Place.UNOWNED, drafted().name, value)
    assert job.is_stand_in
    assert complaint in job.errors[-1].message


def test_an_unreadable_job_keeps_what_identifies_it_and_loses_unknown_fields() -> None:
    job = assert_harmless(
        Place.UNOWNED, drafted().name, written(attempts="1", batch="b", submission="s")
    )
    assert (job.is_stand_in, job.batch, job.submission, job.key) == (True, "b", "s", drafted().key)
    known = assert_harmless(Place.UNOWNED, drafted().name, written(future={"x": 1}))
    assert not known.is_stand_in


def test_an_error_with_half_a_character_can_be_printed() -> None:
    value = json.loads(written())
    value["errors"] = [{"attempt": 1, "worker": "w", "message": "\ud800"}]
    job = Job.decode(drafted().name, json.dumps(value).encode(), 0)
    assert job.last_error == "\\ud800"


@pytest.mark.parametrize("tags", [None, 0, "gpu", {"gpu": 1}, [1], [""]])
def test_what_are_no_tags(tags: Any) -> None:
    with pytest.raises(InvalidJobError, match="are not a list of up to 16 texts"):
        Job.draft(JobRequest("m:f", tags=tags), "s-0", 1000)
