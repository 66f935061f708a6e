"""Job names, built and taken apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.jobs import naming
from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.naming import GroupKey
from zoolet.model import paths

TEXT = st.text(min_size=1).filter(lambda text: max(text) < "\ud800" or min(text) > "\udfff")


def test_the_name_is_the_one_that_was_asked_for() -> None:
    assert naming.prefix(7, GroupKey("flights", "12")) == "entry-007-flights:12-"
    parsed = naming.parse("entry-007-flights:12-0000000042")
    assert parsed == (7, GroupKey("flights", "12"), 42)


@pytest.mark.parametrize("dataset", ["a-b", "a/b", "a:b", "a b", "50%", "-", "ü", "😀", "a\x00b"])
def test_a_data_set_may_have_any_name(dataset: str) -> None:
    prefix = naming.prefix(1, GroupKey(dataset, dataset))
    assert paths.reason_invalid(f"/unowned/{prefix}0000000000") is None
    assert naming.parse(f"{prefix}0000000000").group == GroupKey(dataset, dataset)


@given(TEXT, TEXT, st.integers(0, 999), st.integers(-(1 << 31), (1 << 31) - 1))
def test_what_is_built_is_taken_apart(
    dataset: str, groupid: str, priority: int, sequence: int
) -> None:
    group = GroupKey(dataset, groupid)
    name = f"{naming.prefix(priority, group)}{sequence:010d}"
    assert paths.reason_invalid(f"/{name}") is None
    assert naming.parse(name) == (priority, group, sequence)


@given(TEXT, TEXT, TEXT, TEXT)
def test_different_groups_have_different_names(a: str, b: str, c: str, d: str) -> None:
    assert (naming.prefix(1, GroupKey(a, b)) == naming.prefix(1, GroupKey(c, d))) == (
        (a, b) == (c, d)
    )


def test_more_important_jobs_come_first_then_older_ones() -> None:
    names = [f"entry-{priority}-d:g-{n:010d}" for n, priority in enumerate(["005", "999", "005"])]
    ranked = sorted(names, key=lambda name: naming.parse(name).rank)
    assert ranked == [names[1], names[0], names[2]]


@pytest.mark.parametrize("name", ["", "entry-1-d:g-0000000001", "lock-0000000001", "entry-001-d-1"])
def test_other_names_are_no_jobs(name: str) -> None:
    with pytest.raises(ValueError, match="no job name"):
        naming.parse(name)


@pytest.mark.parametrize(
    ("priority", "group", "reason"),
    [
        (-1, GroupKey("d", "g"), "0 to 999"),
        (1000, GroupKey("d", "g"), "0 to 999"),
        (1, GroupKey("", "g"), "at least one character"),
        (1, GroupKey("d", ""), "at least one character"),
    ],
)
def test_what_makes_no_name_is_refused(priority: int, group: GroupKey, reason: str) -> None:
    with pytest.raises(InvalidJobError, match=reason):
        naming.prefix(priority, group)
