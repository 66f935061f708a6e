"""The table of job transitions is whole, and docs/jobs.md shows it."""

from pathlib import Path

import pytest

from zoolet.jobs.records.transitions import (
    STATES_IN,
    TRANSITIONS,
    Event,
    Place,
    Step,
    Transition,
    steps_of,
)

PAGE = Path(__file__).parents[4] / "docs" / "jobs.md"
HEAD = "| event | place, state | place, state after it | the multi |\n| --- | --- | --- | --- |\n"


def row_of(row: Transition) -> str:
    """Return a row as the page shows it."""
    before = "not in the queue"
    if row.place is not None:
        before = f"{row.place}, {' or '.join(row.states) or 'any'}"
    places = {Step.SET: row.place, Step.DELETE: row.place, Step.CREATE: row.next_place}
    steps = [
        f"{step.value} in {places[step]}" if step in places else step.value for step in row.steps
    ]
    after = f"{row.next_place}, {row.next_state}"
    return f"| {row.event} | {before} | {after} | {', '.join(steps)} |"


def test_the_page_has_the_rows_of_the_table() -> None:
    # To write them again: python -m tests.unit.jobs.records.test_transitions
    table = PAGE.read_text().split(HEAD)[1].split("\n\n")[0].splitlines()
    assert table == [row_of(row) for row in TRANSITIONS]


def test_each_event_has_a_row_and_no_row_contradicts_another() -> None:
    assert {row.event for row in TRANSITIONS} == set(Event)
    found = [(row.event, row.place, row.next_place, row.next_state) for row in TRANSITIONS]
    assert len(found) == len(set(found))
    for row in TRANSITIONS:
        assert row.next_state in STATES_IN[row.next_place]
        if row.place is not None:
            assert set(row.states) <= set(STATES_IN[row.place])
            assert steps_of(row.event, row.place, row.next_place) == row.steps


def test_a_job_is_deleted_where_it_was_if_it_is_created_elsewhere() -> None:
    for row in TRANSITIONS:
        is_moved = row.place is not None and Step.CREATE in row.steps
        assert (Step.DELETE in row.steps) is is_moved
        assert (Step.APPEND_TO_LOG in row.steps) is (row.next_place is Place.DONE)
        assert (Step.ENTER_INDEX in row.steps) is (row.next_place is Place.DEFERRED)


def test_what_the_table_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="no job goes from done to owned"):
        steps_of(Event.TAKE, Place.DONE, Place.OWNED)


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(HEAD)
    old = rest.split("\n\n")[0]
    PAGE.write_text(before + HEAD + "\n".join(map(row_of, TRANSITIONS)) + rest.removeprefix(old))
