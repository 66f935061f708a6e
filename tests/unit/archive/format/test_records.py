"""The small objects: a value becomes JSON and back; other contents raise one documented error."""

import json

import pytest

from zoolet.archive.format.records import (
    Identity,
    MalformedRecordError,
    Owner,
    Previous,
    Reason,
    Timeline,
)

IDENTITY = Identity("ab", 5, None)
OWNER = Owner("cd", "host", "boot", 7, 1, 2, ended=True, timeline=3, last_zxid=4)
TIMELINE = Timeline(8, Reason.TRUNCATED, Previous(1, 9, 10), 11, 8)


def test_a_value_becomes_the_same_value_again() -> None:
    assert Identity.decode(IDENTITY.encode()) == IDENTITY
    assert Identity.decode(IDENTITY._replace(key_id="k").encode()).key_id == "k"
    assert Owner.decode(OWNER.encode()) == OWNER
    assert Timeline.decode(TIMELINE.encode()) == TIMELINE
    first = TIMELINE._replace(previous=None)
    assert Timeline.decode(first.encode()) == first


@pytest.mark.parametrize("value", [IDENTITY, OWNER, TIMELINE])
def test_a_field_of_another_type_is_refused(value: Identity | Owner | Timeline) -> None:
    fields = json.loads(value.encode())
    for name in fields:
        wrongs: list[object] = [[], 1.5, {"number": "x"}]
        for wrong in wrongs:
            content = json.dumps({**fields, name: wrong}).encode()
            with pytest.raises(MalformedRecordError):
                type(value).decode(content)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"null", b"{}", b"[" * 9999])
def test_other_contents_are_refused(content: bytes) -> None:
    for kind in (Identity, Owner, Timeline):
        with pytest.raises(MalformedRecordError):
            kind.decode(content)
