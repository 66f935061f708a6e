"""``zoolet archive check`` finds each damaged byte, each missing object and each gap."""

from pathlib import Path

import pytest

from tests.support.archiving import ArchiverRun, MemoryPlace
from tests.support.writer import Writer
from zoolet.archive.checking.checking import Finding, check_archive
from zoolet.archive.errors import ArchiveError
from zoolet.archive.store.store import Store
from zoolet.archive.writing.sources import DirectorySource


@pytest.fixture
def place(tmp_path: Path) -> MemoryPlace:
    """A small archive with each kind of object."""
    writer = Writer(tmp_path)
    place = MemoryPlace()
    for name in "ab":
        writer.create(f"/{name}")
        ArchiverRun(place, DirectorySource(writer.directories), now_ms=lambda: 100).run()
    return place


def findings(place: MemoryPlace) -> list[Finding]:
    return list(check_archive(Store("memory", place=place)))


def problems(place: MemoryPlace) -> list[Finding]:
    return [each for each in findings(place) if each.is_problem]


def test_an_undamaged_archive_has_no_finding(place: MemoryPlace) -> None:
    assert findings(place) == []


def test_each_changed_byte_is_found(tmp_path: Path) -> None:
    place = MemoryPlace()
    ArchiverRun(place, DirectorySource(Writer(tmp_path).directories), now_ms=lambda: 100).run()
    assert len(place.objects) == 5
    for name, data in list(place.objects.items()):
        for position in range(len(data)):
            changed = bytearray(data)
            changed[position] ^= 1 << position % 8
            place.objects[name] = bytes(changed)
            found = problems(place)
            assert any(name in each.text for each in found), (name, position)
        place.objects[name] = data


def test_each_missing_object_is_found(place: MemoryPlace) -> None:
    for name, data in list(place.objects.items()):
        del place.objects[name]
        if name == "archive":
            with pytest.raises(ArchiveError, match="not an archive"):
                findings(place)
        elif not name.startswith("owners/"):
            assert problems(place), name
        place.objects[name] = data


def test_renamed_and_swapped_objects_are_found(place: MemoryPlace) -> None:
    names = [name for name in place.objects if name.startswith("txns/")]
    first, second = (place.objects[name] for name in names)
    place.objects[names[0]], place.objects[names[1]] = second, first
    assert {each.kind for each in problems(place)} == {"DAMAGED"}
    assert len(problems(place)) == 2
    place.objects[names[0]], place.objects[names[1]] = first, second
    place.objects["txns/0001/other"] = first
    assert [each.kind for each in problems(place)] == ["UNKNOWN"]


def test_an_orphan_snapshot_is_only_noted(place: MemoryPlace) -> None:
    name = next(name for name in place.objects if name.startswith("snapshots/"))
    store = Store("memory", place=place)
    content = store.read(name)
    store.write(name.replace("/0001/", "/0002/"), [content])
    assert problems(place) == []
    assert [each.kind for each in findings(place)] == ["note"]
