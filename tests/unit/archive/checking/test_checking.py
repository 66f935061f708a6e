"""``zoolet archive check`` finds each damaged byte, each missing object and each gap."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.archiving import ArchiverRun, MemoryPlace, archive_in
from tests.support.writer import Writer
from zoolet.archive.checking.checking import Finding, check_archive
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.names import SegmentName, parse_name
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


def test_objects_that_may_not_be_read_are_reported_and_the_others_are_read(
    place: MemoryPlace,
) -> None:
    names = [name for name in place.objects if name != "archive"]
    denied = names[::2]

    class Denying(MemoryPlace):
        def blocks(self, name: str) -> Iterator[bytes]:
            if name in denied:
                raise PermissionError(13, "Permission denied", name)
            return super().blocks(name)

    denying = Denying()
    denying.objects = dict(place.objects)
    damaged = next(name for name in names[1::2] if name.startswith(("txns/", "snapshots/")))
    denying.objects[damaged] = b"damaged"
    found = findings(denying)
    errors = [each.text for each in found if each.kind == "ERROR"]
    assert len(errors) == len(denied)
    assert all(name in text for name, text in zip(sorted(denied), errors, strict=True))
    assert any(each.kind == "DAMAGED" and damaged in each.text for each in found)


def test_a_store_that_fails_ends_the_check(place: MemoryPlace) -> None:
    class Failing(MemoryPlace):
        def blocks(self, name: str) -> Iterator[bytes]:
            if name.startswith("timelines/"):
                raise OSError(5, "the store fails")
            return super().blocks(name)

    failing = Failing()
    failing.objects = place.objects | {f"timelines/{number:04}": b"" for number in range(20)}
    with pytest.raises(OSError, match="the store fails"):
        findings(failing)


def test_objects_that_an_archiver_removes_meanwhile_are_no_problem(place: MemoryPlace) -> None:
    """The archiver merges and archives more after the names were listed."""
    store = Store("memory", place=place)
    listed: list[str] = []

    def merging(names: list[str]) -> Iterable[str]:
        listed.extend(names)
        segments = [each for each in map(parse_name, names) if isinstance(each, SegmentName)]
        first, last = min(segments), max(segments)
        archive = archive_in(place)
        records = [txn.encoded for each in (first, last) for txn in archive.txns(each)]
        merged = first._replace(last_zxid=last.last_zxid, last_ms=last.last_ms)
        store.write(str(merged), records)
        for each in (first, last):
            store.delete(str(each))
        return names

    found = [each for each in check_archive(store, merging) if each.is_problem]
    assert len([name for name in listed if name.startswith("txns/")]) == 2
    assert found == []


def test_a_lost_end_is_found(place: MemoryPlace) -> None:
    newest = max(name for name in place.objects if name.startswith("txns/"))
    del place.objects[newest]
    (found,) = problems(place)
    assert found.kind == "MISSING"
