"""Notes of FAILED jobs are read as they were written, and other values are left out."""

import json
import random

import pytest

from tests.fuzz.queue_values import any_bytes, any_value
from zoolet.jobs.records.failure_notes import (
    REASONS,
    FailureReason,
    NotedFailure,
    decode_note,
    encode_note,
)
from zoolet.jobs.records.transitions import TRANSITIONS, Event, Step

NAME = "entry-000-flights:1-0000000007"


def test_a_note_is_read_as_it_was_written() -> None:
    failures = {
        NAME: NotedFailure(FailureReason.WORKER_LOST, 5),
        "entry-000-_:ab-0000000008": NotedFailure(FailureReason.NO_TASK, 0),
    }
    assert decode_note(encode_note(failures)) == failures


def test_each_transition_that_notes_a_failure_has_a_reason() -> None:
    noting = {row.event for row in TRANSITIONS if Step.NOTE_FAILURE in row.steps}
    failing = {row.event for row in TRANSITIONS if row.next_state == "FAILED"}
    assert noting == set(REASONS) == failing - {Event.CANCEL}
    assert set(REASONS.values()) == set(FailureReason)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"\xff",
        json.dumps({"no name": ["attempt", 1]}).encode(),
        json.dumps({NAME: ["no reason", 1]}).encode(),
        json.dumps({NAME: ["attempt", -1]}).encode(),
        json.dumps({NAME: ["attempt", True]}).encode(),
        json.dumps({NAME: ["attempt", 10**30]}).encode(),
        json.dumps({NAME: [["attempt"], 1]}).encode(),
        json.dumps({NAME: "attempt"}).encode(),
    ],
)
def test_other_values_are_left_out(value: bytes) -> None:
    assert decode_note(value) == {}


def test_random_values_are_left_out() -> None:
    chance = random.Random(20261130)
    read = 0
    for _ in range(500):
        good = {NAME: NotedFailure(FailureReason.EXPIRED, 3)}
        other = {f"entry-000-a:b-{chance.randrange(10**9):010d}": any_value(chance)}
        # A value like NaN makes all of the note invalid JSON.
        found = decode_note(json.dumps(good | other).encode())
        assert found in ({}, good)
        read += found == good
        assert isinstance(decode_note(any_bytes(chance)), dict)
    assert read > 300
