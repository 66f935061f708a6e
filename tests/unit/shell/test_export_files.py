"""An export gets its name when it is complete, and never replaces another file."""

import errno
import os
from pathlib import Path

import pytest

from zoolet.shell.commands import copying


@pytest.fixture(params=[None, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems with and without hard links."""

    def refuse(old: Path, new: Path) -> None:
        raise OSError(request.param, os.strerror(request.param), str(old), None, str(new))

    if request.param is not None:
        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("links")
def test_a_complete_file_gets_its_name(tmp_path: Path) -> None:
    assert copying._write_new(tmp_path / "file", iter(["a", "é"])) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "a\né\n"


@pytest.mark.usefixtures("links")
def test_a_file_that_another_program_creates_meanwhile_is_kept(tmp_path: Path) -> None:
    path, unfinished = tmp_path / "file", tmp_path / "file.unfinished"
    path.write_text("other")
    unfinished.write_text("export")
    with pytest.raises(FileExistsError):
        copying._give_name(unfinished, path)
    assert path.read_text() == "other"


def test_another_error_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(old: Path, new: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(old), None, str(new))

    monkeypatch.setattr(os, "link", fail)
    (tmp_path / "unfinished").write_text("export")
    with pytest.raises(OSError, match="Input/output error"):
        copying._give_name(tmp_path / "unfinished", tmp_path / "file")
    assert not (tmp_path / "file").exists()
