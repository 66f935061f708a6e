"""The files of a location, and what detects that a file has changed."""

import os
from pathlib import Path
from typing import Any

import pytest

from zoolet.jobs.errors import DatasetChangedError, DatasetError
from zoolet.jobs.loaders import whole_files
from zoolet.jobs.loaders.file_lists import check_unchanged
from zoolet.jobs.loaders.registry import checked_options


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ids(location: Path, **options: Any) -> list[str]:
    found = whole_files.list_groups(str(location), checked_options("files", options), ())
    return [group.groupid for group in found]


def test_a_location_is_a_file_a_directory_or_a_pattern(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "deep/c.txt", "deep/d.bin", ".hidden", "_temporary/e.txt"):
        write(tmp_path / name)
    assert ids(tmp_path / "a.txt") == ["a.txt"]
    assert ids(tmp_path) == ["a.txt", "b.txt", "deep/c.txt", "deep/d.bin"]
    assert ids(tmp_path, pattern="*.txt") == ["a.txt", "b.txt", "deep/c.txt"]
    assert ids(tmp_path / "*.txt") == ["a.txt", "b.txt"]
    assert ids(tmp_path / "**" / "c.*") == ["deep/c.txt"]


@pytest.mark.parametrize("location", ["nothing", "*.txt", "."])
def test_a_location_without_files_is_refused(location: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is neither a file|has no file"):
        ids(tmp_path / location)


def test_a_long_path_gets_a_short_unique_id(tmp_path: Path) -> None:
    directory = "/".join(["x" * 100] * 4)
    write(tmp_path / directory / "1.txt")
    write(tmp_path / directory / "2.txt")
    found = ids(tmp_path)
    assert len(set(found)) == 2
    assert all(len(groupid) < 230 for groupid in found)
    assert found == ids(tmp_path)


def test_a_changed_file_is_detected(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    options = checked_options("files", {})
    [group] = whole_files.list_groups(str(tmp_path), options, ())
    check_unchanged(group.position, group.version, options)
    write(tmp_path / "a.txt", "longer")
    with pytest.raises(DatasetChangedError, match="has changed since"):
        check_unchanged(group.position, group.version, options)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DatasetChangedError, match="cannot be read"):
        check_unchanged(group.position, group.version, options)


def test_by_content_a_touched_file_is_the_same(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "same")
    options = checked_options("files", {"version": "content"})
    [group] = whole_files.list_groups(str(tmp_path), options, ())
    os.utime(tmp_path / "a.txt", ns=(1, 1))
    check_unchanged(group.position, group.version, options)
    [again] = whole_files.list_groups(str(tmp_path), options, [group])
    assert again.version == group.version
    write(tmp_path / "a.txt", "othr")
    with pytest.raises(DatasetChangedError):
        check_unchanged(group.position, group.version, options)


def test_only_changed_files_are_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.txt"):
        write(tmp_path / name)
    options = checked_options("files", {"version": "content"})
    known = whole_files.list_groups(str(tmp_path), options, ())
    write(tmp_path / "b.txt", "changed")
    hashed: list[str] = []

    def content_hash(path: str) -> str:
        hashed.append(Path(path).name)
        return "new"

    monkeypatch.setattr("zoolet.jobs.loaders.file_lists.content_hash", content_hash)
    found = whole_files.list_groups(str(tmp_path), options, known)
    assert (found[0], found[1].version) == (known[0], "new")
    assert hashed == ["b.txt"]
