"""Names of objects: a value becomes a name and back; other names are unknown."""

import pytest

from zoolet.archive.format.names import (
    IDENTITY,
    ObjectName,
    OwnerName,
    SegmentName,
    SnapshotName,
    TimelineName,
    parse_name,
)


@pytest.mark.parametrize(
    "name",
    [
        OwnerName(12),
        TimelineName(3),
        SegmentName(1, 0x1_0000_0001, 0x2_0000_00FF, 1_700_000_000_000, 1_700_000_000_001),
        SnapshotName(9999, 0x7FFF_FFFF_FFFF_FFFF, 0),
    ],
)
def test_a_name_becomes_the_value_again(name: ObjectName) -> None:
    assert parse_name(str(name)) == name


@pytest.mark.parametrize(
    "name", [IDENTITY, "", "owners/1", "timelines/0001 ", "timelines/0001/x", "txns/0001/1-2-3-4"]
)
def test_other_names_are_unknown(name: str) -> None:
    assert parse_name(name) is None
