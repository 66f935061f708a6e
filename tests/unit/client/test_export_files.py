"""An export gets its name when it is complete, and never replaces another file."""

import errno
import os
from pathlib import Path

import pytest

from zoolet.client.export_files import NewFile


@pytest.fixture(params=[None, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems with and without hard links."""

    def refuse(old: Path, new: Path) -> None:
        raise OSError(request.param, os.strerror(request.param), str(old), None, str(new))

    if request.param is not None:
        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("links")
def test_a_complete_file_gets_its_name(tmp_path: Path) -> None:
    with NewFile(tmp_path / "file") as file:
        file.write("a")
        file.write("é")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "a\né\n"


@pytest.mark.usefixtures("links")
def test_a_file_that_another_program_creates_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def create_meanwhile() -> None:
        with NewFile(path) as file:
            file.write("export")
            path.write_text("other")

    with pytest.raises(FileExistsError) as caught:
        create_meanwhile()
    assert caught.value.filename == str(path)
    assert path.read_text() == "other"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    for name in ("file", "file.unfinished"):
        (tmp_path / name).write_text("other")
        with pytest.raises(FileExistsError) as caught, NewFile(tmp_path / "file"):
            pytest.fail("the file was created")
        assert caught.value.filename == str(tmp_path / name)
        assert (tmp_path / name).read_text() == "other"
        (tmp_path / name).unlink()


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with NewFile(tmp_path / "file") as file:
            file.write("export")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_another_error_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(old: Path, new: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(old), None, str(new))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(OSError, match="Input/output error"), NewFile(tmp_path / "file") as file:
        file.write("export")
    assert list(tmp_path.iterdir()) == []
