"""Signatures of jobs and schedules: what they cover, and that no changed value passes."""

import hashlib
import hmac
import json
import random
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.queue_values import any_value
from zoolet.jobs.errors import UnreadableJobError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_outcomes import failed, lost, without_task
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.records.schedules import Schedule
from zoolet.jobs.signing.keys import SigningKey
from zoolet.jobs.signing.signatures import (
    SIGNED,
    SIGNED_OF_SCHEDULES,
    UNSIGNED,
    problem_of_job,
    problem_of_schedule,
    sign_job,
    sign_schedule,
    signed_not_before_ms,
)

QUEUE = "/jobs/flights"
KEY, OLD = SigningKey("new", b"n" * 32), SigningKey("old", b"o" * 32)
KEYS = {key.id: key for key in (KEY, OLD)}
PARAMETERS = {"b": [1, 2.5, None, True], "a": {"\u00e9": "\U0001f600", "x": -0.0}, "n": 10**30}
REQUEST = JobRequest(
    "mail:send",
    "flights",
    "2013-1",
    PARAMETERS,
    priority=7,
    max_attempts=4,
    backoff_ms=100,
    timeout_ms=5000,
    not_before_ms=10_000,
    expires_ms=90_000,
    soft_timeout_ms=4000,
    jitter_percent=10,
    source={"loader": "csv", "options": {}},
    tags=["gpu"],
    limit_key="k",
    trace="00-1-2-01",
)


def signed(request: JobRequest = REQUEST, key: SigningKey = KEY, **more: Any) -> Job:
    job = Job.draft(request, "submission-0", 5000, batch="b", receives="r", **more)
    job = job._replace(name=f"{job.name}0000000003")
    return job._replace(signature=sign_job(job, QUEUE, key))


def problem(job: Job, queue: str = QUEUE) -> str | None:
    return problem_of_job(job, queue, KEYS.get)


def stored(job: Job) -> Job:
    return Job.decode(job.name, job.encode(), 0)


def test_every_attribute_of_a_job_is_signed_or_listed_as_changing() -> None:
    assert sorted((*SIGNED, *UNSIGNED)) == sorted(Job._fields)
    assert {"task", "parameters", "priority", "expires_ms"} <= set(SIGNED)
    requested = {spec.name for spec in fields(JobRequest)} - {"idempotency_key"}
    assert requested <= set(SIGNED)
    assert len(set(SIGNED)) == len(SIGNED)


def test_every_attribute_of_a_schedule_is_signed_or_listed_as_changing() -> None:
    changing = {"paused", "last_due_ms", "queued", "runs", "skipped", "signature"}
    assert changing | set(SIGNED_OF_SCHEDULES) == {spec.name for spec in fields(Schedule)}


def test_the_signed_text_is_the_one_that_the_page_defines() -> None:
    request = JobRequest("m:f", parameters={"b": 1, "a": "\u00e9"}, priority=7)
    job = Job.draft(request, "s-0", 5000)
    text = (
        '["zoolet-job",1,"new","/jobs/flights","m:f",null,null,{"a":"\\u00e9","b":1},7,3,'
        f'"{job.key}","s-0",5000,0,null,null,null,null,null,null,0,null,[],null,null]'
    )
    mac = hmac.new(b"n" * 32, text.encode(), hashlib.sha256).hexdigest()
    assert sign_job(job, QUEUE, KEY) == f"1:new::{mac}"
    later = job._replace(not_before_ms=60_000)
    assert sign_job(later, QUEUE, KEY).startswith("1:new:60000:")


def test_a_signed_job_is_valid_as_it_is_stored() -> None:
    assert problem(signed()) is None
    assert problem(stored(signed())) is None
    assert problem(stored(signed(key=OLD))) is None


def test_halves_of_surrogate_pairs_are_signed_as_they_are_read_again() -> None:
    names = {"\ud83d\ude00": 1, "\ue000": 2, "\ud800": 3}
    job = signed(JobRequest("m:f", parameters=names))
    assert problem(job) is None
    assert problem(stored(job)) is None


texts = st.text(st.characters(), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(texts, json_values, max_size=4))
def test_all_parameters_are_signed_as_they_are_read_again(parameters: dict[str, Any]) -> None:
    job = signed(JobRequest("m:f", parameters=parameters))
    assert problem(stored(job)) is None


@pytest.mark.parametrize("name", [name for name in SIGNED if name != "not_before_ms"])
def test_a_changed_value_is_not_valid(name: str) -> None:
    job = signed()
    value = getattr(job, name)
    others: list[Any] = [None, "other", 7_777, {"other": 1}, ("other",)]
    if isinstance(value, int):
        others.append(value + 1)
    for other in others:
        if other != value:
            assert problem(job._replace(**{name: other})) is not None, (name, other)


def test_numbers_of_another_type_are_not_the_signed_ones() -> None:
    job = signed()
    for other in ({"b": [1.0]}, {"b": [True]}, {"b": ["1"]}):
        one = signed(replace(REQUEST, parameters={"b": [1]}))
        assert problem(one._replace(parameters=other)) is not None
    assert problem(job, "/jobs/other") is not None


def test_the_start_may_be_later_but_not_earlier_than_signed() -> None:
    job = signed()
    assert signed_not_before_ms(job) == 10_000
    assert problem(job._replace(not_before_ms=20_000)) is None
    for earlier in (9_999, 0, None):
        assert "earlier than the signed one" in str(problem(job._replace(not_before_ms=earlier)))
    assert job.signature is not None
    for forged in ("", "0", "9999", "10000.0", "010000", "1" * 4000):
        signature = job.signature.replace(":10000:", f":{forged}:")
        assert problem(job._replace(not_before_ms=None, signature=signature)) is not None


def test_the_moves_of_a_job_keep_its_signature_valid() -> None:
    job = signed(chained=True)
    taken = job.put_off(0).taken("w", 30_000)
    running = taken.running(30_001, cache_hit=True).progressed(Progress(1, 2, "x"))
    moved = [
        job.put_off(0),
        job.put_off(0).held(),
        job.put_off(0).held_by("l"),
        job.put_off(0).held_by("l").released(),
        taken,
        running,
        taken.waiting(),
        failed(running, 30_002, "trouble"),
        failed(running, 30_002, "trouble", retry_in_ms=0),
        failed(running, 9_000, "the clock of this worker is behind", retry_in_ms=0),
        without_task(taken, 9_000, "no task"),
        lost(taken, 31_000),
        lost(running, 31_000),
        running.succeeded(31_000, {"x": 1}),
        running.ended_by(31_000, "cancelled"),
        failed(running, 30_002, "trouble").taken("v", 40_000).waiting().unstarted(),
    ]
    assert [problem(one) for one in moved] == [None] * len(moved)
    assert [problem(stored(one)) for one in moved] == [None] * len(moved)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        (None, "it has no signature: submit it with the option --signing-keys"),
        ("", "does not have the form of version 1"),
        (f"2:new::{'0' * 64}", "does not have the form of version 1"),
        (f"01:new::{'0' * 64}", "does not have the form of version 1"),
        (f"1:new::{'0' * 63}", "does not have the form of version 1"),
        (f"1:new::{'0' * 64}\n", "does not have the form of version 1"),
        (f"1:new:x:{'0' * 64}", "does not have the form of version 1"),
        (f"1:gone::{'0' * 64}", "the key gone, which this process does not have"),
        (f"1:new:10000:{'0' * 64}", "its signature with the key new is wrong"),
        ("1:new:10000:" + "\u0661" * 64, "does not have the form of version 1"),
    ],
)
def test_an_invalid_signature_says_what_is_wrong(signature: str | None, message: str) -> None:
    assert message in str(problem(signed()._replace(signature=signature)))


def test_another_secret_of_the_same_id_is_not_accepted() -> None:
    job = signed(key=SigningKey("new", b"x" * 32))
    assert "its signature with the key new is wrong" in str(problem(job))
    swapped = signed(key=OLD)
    assert swapped.signature is not None
    renamed = swapped._replace(signature=swapped.signature.replace("1:old:", "1:new:"))
    assert "is wrong" in str(problem(renamed))


@pytest.mark.parametrize("seed", range(40))
def test_a_random_change_of_the_stored_value_is_refused_or_changes_nothing_that_is_signed(
    seed: int,
) -> None:
    """A byte is changed, or a field gets a random value, or the value of another job."""
    chance = random.Random(seed)
    job, other = signed(), signed(replace(REQUEST, parameters={"z": 1}, expires_ms=None))
    for _ in range(200):
        value = json.loads(job.encode())
        kind = chance.randrange(3)
        if kind == 0:
            data = bytearray(job.encode())
            data[chance.randrange(len(data))] = chance.randrange(256)
        else:
            name = chance.choice([*SIGNED, "signature"])
            value[name] = any_value(chance) if kind == 1 else json.loads(other.encode()).get(name)
            data = bytearray(json.dumps(value, default=str).encode())
        try:
            found = Job.decode(job.name, bytes(data), 0)
        except UnreadableJobError:
            continue
        text = [getattr(found, name) for name in SIGNED if name != "not_before_ms"]
        same = [getattr(stored(job), name) for name in SIGNED if name != "not_before_ms"]
        is_same = json.dumps(text, sort_keys=True) == json.dumps(same, sort_keys=True)
        if problem(found) is None:
            assert is_same, data
            assert (found.not_before_ms or 0) >= 10_000
        elif found.signature == job.signature:
            assert not is_same or (found.not_before_ms or 0) < 10_000, data


REQUEST_OF = replace(REQUEST, not_before_ms=None, expires_ms=None)
SCHEDULE = Schedule("daily", REQUEST_OF, cron="0 3 * * *", last_due_ms=7)


def test_a_schedule_keeps_its_signature_when_it_runs_and_not_when_it_changes() -> None:
    one = replace(SCHEDULE, signature=sign_schedule(SCHEDULE, QUEUE, KEY))
    read = Schedule.decode("daily", one.encode())
    for valid in (one, read, replace(one, paused=True, last_due_ms=9, queued=(1,), skipped=3)):
        assert problem_of_schedule(valid, QUEUE, KEYS.get) is None
    changes: list[dict[str, Any]] = [
        {"request": replace(REQUEST_OF, task="os:system")},
        {"request": replace(REQUEST_OF, parameters={})},
        {"request": replace(REQUEST_OF, priority=8)},
        {"cron": "* * * * *"},
        {"cron": None, "every_ms": 1000},
        {"timezone": "Europe/Berlin"},
        {"start_ms": 1},
        {"missed": "all"},
        {"missed_most": 1000},
        {"grace_ms": 1},
        {"overlap": "skip"},
        {"due_parameter": "x"},
        {"name": "other"},
        {"signature": None},
    ]
    assert {name for change in changes for name in change} == {
        *SIGNED_OF_SCHEDULES, "every_ms", "signature"
    }  # fmt: skip
    for change in changes:
        assert problem_of_schedule(replace(one, **change), QUEUE, KEYS.get) is not None, change
    assert problem_of_schedule(one, "/other", KEYS.get) is not None
    job = signed()
    as_schedule = replace(one, signature=job.signature)
    assert problem_of_schedule(as_schedule, QUEUE, KEYS.get) is not None
