"""The values of the znodes of a dataset."""

import json
import random
from typing import Any

import pytest

from tests.fuzz.queue_values import any_bytes, changed
from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records.datasets import (
    CHUNK_BYTES,
    DatasetRecord,
    GroupValues,
    check_dataset_name,
    decode_groups,
    encode_groups,
)

RECORD = DatasetRecord(
    "events", "parquet", "/data", {"pattern": "*"}, "0" * 16, 1, 2, 30, None, 1, 2
)


def group(number: int, padding: str = "") -> GroupValues:
    return (f"a.parquet:{number}", "v", number, None, {"row_group": number, "padding": padding})


def test_a_description_is_decoded_as_it_was_encoded() -> None:
    assert DatasetRecord.decode("events", RECORD.encode()) == RECORD


@pytest.mark.parametrize("seed", range(200))
def test_an_invalid_description_is_refused_with_a_message(seed: int) -> None:
    chance = random.Random(seed)
    good = json.loads(RECORD.encode())
    value = any_bytes(chance) if chance.random() < 0.3 else changed(chance, good)
    try:
        found = DatasetRecord.decode("events", value)
    except UnreadableJobError as error:
        assert "the description of dataset events" in str(error)  # noqa: PT017 -- or it is valid
    else:
        assert DatasetRecord.decode("events", found.encode()) == found


def test_groups_are_split_into_znodes_of_limited_size() -> None:
    groups = [group(number, "x" * 1000) for number in range(1000)]
    chunks = encode_groups(groups)
    assert len(chunks) > 1
    assert all(len(chunk) <= CHUNK_BYTES + 2000 for chunk in chunks)
    assert [found for chunk in chunks for found in decode_groups("events", chunk)] == groups
    assert encode_groups([]) == []


def test_a_group_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidJobError, match=r"the group a\.parquet:1 needs"):
        encode_groups([group(1, "x" * CHUNK_BYTES)])


@pytest.mark.parametrize("seed", range(100))
def test_an_invalid_list_of_groups_is_refused_with_a_message(seed: int) -> None:
    chance = random.Random(seed)
    values: list[Any] = [list(group(1)), list(group(2))]
    place = chance.randrange(5)
    values[1][place] = chance.choice((None, True, -1, "", 1.5, {}, [], "x" * 5000, "\ud800"))
    value = chance.choice((json.dumps(values).encode(), any_bytes(chance)))
    try:
        found = decode_groups("events", value)
    except UnreadableJobError as error:
        assert "the groups of dataset events are invalid" in str(error)  # noqa: PT017 -- likewise
    else:
        assert encode_groups(found) or found == []


@pytest.mark.parametrize("name", ["", "a/b", "x" * 201, "..", "\ud800"])
def test_a_name_that_no_znode_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidJobError):
        check_dataset_name(name)
