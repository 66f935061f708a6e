"""Job names: what goes in comes out, and the order of taking is the names' order."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records import job_names
from zoolet.model import paths

parts = st.text(min_size=1, max_size=20)
sequences = st.integers(-(2**31), 2**31 - 1)


def as_appended_by_the_server(sequence: int) -> str:
    """Java's ``%010d``, which is what ZooKeeper appends."""
    return f"{sequence:010d}"


@given(st.integers(0, 999), parts, parts, sequences)
@example(5, "a-b", "c-", 0)
@example(5, "a:b/c", "-", -(2**31))
@example(5, "entry-001-x:y-0000000001", "1-2-3", 7)
@example(5, "\U0001f600", "\x00\n%2F", 12)
@example(5, "..", ".", 12)
def test_what_is_built_is_parsed(priority: int, dataset: str, groupid: str, sequence: int) -> None:
    name = job_names.build(priority, dataset, groupid) + as_appended_by_the_server(sequence)
    assert paths.reason_invalid(f"/jobs/unowned/{name}") is None
    assert "/" not in name
    parsed = job_names.parse(name)
    assert parsed == job_names.JobName(name, priority, dataset, groupid, sequence)


@pytest.mark.parametrize(
    ("dataset", "groupid", "name"),
    [
        ("flights", "7", "entry-042-flights:7-"),
        ("new york-2013", "grüße", "entry-042-new york-2013:grüße-"),
        ("a/b:c%d", "x", "entry-042-a%2Fb%3Ac%25d:x-"),
        ("a", "ends-", "entry-042-a:ends%2D-"),
        ("a", "\U0001f600", "entry-042-a:%F0%9F%98%80-"),
    ],
)
def test_names_stay_readable(dataset: str, groupid: str, name: str) -> None:
    assert job_names.build(42, dataset, groupid) == name


@pytest.mark.parametrize(
    ("suffix", "sequence"),
    [("0000000012", 12), ("2147483647", 2147483647), ("-2147483648", -2147483648),
     ("-000000001", -1), ("12345678901", 12345678901)],
)  # fmt: skip
def test_parses_every_sequence_that_a_server_appends(suffix: str, sequence: int) -> None:
    parsed = job_names.parse(f"entry-001-a-b:c-d-{suffix}")
    assert parsed is not None
    assert (parsed.dataset, parsed.groupid, parsed.sequence) == ("a-b", "c-d", sequence)


@pytest.mark.parametrize(
    "name",
    ["", "entry-", "lock-0000000001", "entry-01-a:b-0000000001", "entry-001-a-0000000001",
     "entry-001-:b-0000000001", "entry-001-a:-0000000001", "entry-001-a:b-", "entry-001-a:b",
     "entry-001-a:b:c-0000000001", "entry-001-a%FF:b-0000000001",
     "entry-\u0660\u0660\u0661-a:b-0000000001"],
)  # fmt: skip
def test_what_is_no_job_name_is_none(name: str) -> None:
    assert job_names.parse(name) is None


@pytest.mark.parametrize("priority", [-1, 1000, True, 1.0, "7"])
def test_refuses_a_priority_that_has_no_place_in_a_name(priority: int) -> None:
    with pytest.raises(InvalidJobError, match="priority"):
        job_names.build(priority, "a", "b")


@pytest.mark.parametrize("part", ["", "\ud800", "x" * 256, None])
def test_refuses_a_part_that_cannot_be_named(part: str) -> None:
    with pytest.raises(InvalidJobError, match="dataset"):
        job_names.build(0, part, "b")
    with pytest.raises(InvalidJobError, match="groupid"):
        job_names.build(0, "a", part)


def test_the_greater_priority_goes_first_and_then_the_lower_sequence() -> None:
    names = [
        "entry-005-z:z-0000000001",
        "entry-999-b:b-0000000009",
        "entry-005-a:a-0000000002",
        "entry-005-a:a-10000000000",
    ]
    parsed = [name for name in map(job_names.parse, names) if name is not None]
    assert [name.name for name in sorted(parsed, key=lambda name: name.order)] == [
        "entry-999-b:b-0000000009",
        "entry-005-z:z-0000000001",
        "entry-005-a:a-0000000002",
        "entry-005-a:a-10000000000",
    ]
