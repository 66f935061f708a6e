"""An export gets its name when it is complete, and never replaces another file."""

import errno
import os
from pathlib import Path

import pytest

from zoolet.client.export_files import NewFile, imported_znodes
from zoolet.client.transfers import exported
from zoolet.exports.lines import ExportError, ExportHeader, header_line, znode_line
from zoolet.model.acl import OPEN_ACL
from zoolet.model.results import ZnodeData
from zoolet.model.stat import Stat


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


def write_file(path: Path, root: str, *znodes: str) -> Path:
    """Write an export with any paths."""
    stat = Stat(*[0] * len(Stat._fields))
    lines = [header_line(ExportHeader(1, root))]
    lines += [znode_line(exported(each, ZnodeData(b"x", stat), OPEN_ACL)) for each in znodes]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_znodes_of_an_export_get_their_place_below_the_target(tmp_path: Path) -> None:
    file = write_file(tmp_path / "file", "/a", "/a", "/a/b")
    assert [znode.path for znode in imported_znodes(file, "/t")] == ["/t", "/t/b"]
    file = write_file(tmp_path / "file", "/", "/", "/b", "/zookeeper/quota")
    assert [znode.path for znode in imported_znodes(file, "/t")] == ["/t", "/t/b"]


@pytest.mark.parametrize(
    ("root", "znode"),
    [
        ("/a", "/b"),
        ("/a", "/ab"),
        ("/a", "/"),
        ("/a/b", "/a"),
        ("/a", "/a/../b"),
        ("a", "a"),
        ("", "/b"),
        ("/a/", "/a/b"),
        ("/..", "/.."),
    ],
)
def test_no_path_of_an_export_is_outside_its_root(tmp_path: Path, root: str, znode: str) -> None:
    file = write_file(tmp_path / "file", root, znode)
    with pytest.raises(ExportError, match="not a line of an export"):
        list(imported_znodes(file, "/target"))


def test_a_line_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    file = write_file(tmp_path / "file", "/a", "/a")
    longest = max(map(len, file.read_text().splitlines())) + 1
    assert len(list(imported_znodes(file, "/t", most_characters=longest))) == 1
    with pytest.raises(ExportError, match=f"2: the line has more than {longest - 1} characters"):
        list(imported_znodes(file, "/t", most_characters=longest - 1))
