"""``edit``: what an editor saves is set, unless someone else was faster, and never lost."""

import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.support.shell import Ran, run_shell
from zoolet.testing import ServerProcess


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let files that are kept for the user come into a folder of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def edit(server: ServerProcess, editor: str) -> Ran:
    with mock.patch.dict(os.environ, {"EDITOR": editor}):
        return run_shell(server.hosts, "edit", "/a")


def script(tmp_path: Path, text: str) -> str:
    """Return the editor that is a Python program; ``file`` is the path of what it edits."""
    path = tmp_path / "editor.py"
    path.write_text(f"import sys\nfrom pathlib import Path\nfile = Path(sys.argv[1])\n{text}\n")
    return f"{sys.executable} {path}"


def test_what_is_saved_is_set(server: ServerProcess, client: Any, temporary_files: Path) -> None:
    client.create("/a", b"old text")
    assert edit(server, "sed -i s/old/new/") == Ran(0, "Set /a, version 1\n", "")
    assert client.get("/a")[0] == b"new text"
    assert list(temporary_files.iterdir()) == []


def test_nothing_saved_is_nothing_set(server: ServerProcess, client: Any) -> None:
    client.create("/a", b"text")
    assert edit(server, "true") == Ran(0, "Nothing was changed\n", "")
    assert client.get("/a")[1].version == 0


def test_the_line_feed_of_an_editor_is_not_set(
    server: ServerProcess, client: Any, tmp_path: Path
) -> None:
    client.create("/a", b"text")
    assert "Nothing" in edit(server, script(tmp_path, 'file.write_bytes(b"text\\n")')).out
    edit(server, script(tmp_path, 'file.write_bytes(b"more\\n")'))
    assert client.get("/a")[0] == b"more"
    edit(server, script(tmp_path, 'file.write_bytes(b"two\\n\\n")'))
    assert client.get("/a")[0] == b"two\n"
    edit(server, script(tmp_path, 'file.write_bytes(b"\\xff\\x00\\n")'))
    assert client.get("/a")[0] == b"\xff\x00\n"


@pytest.mark.parametrize("meanwhile", ["set /a theirs", "delete /a"])
def test_nobody_s_change_is_written_over(
    server: ServerProcess, client: Any, tmp_path: Path, temporary_files: Path, meanwhile: str
) -> None:
    client.create("/a", b"old")
    shell = [sys.executable, "-m", "zoolet.shell", "-server", server.hosts, *meanwhile.split()]
    editor = script(
        tmp_path, f'import subprocess\nsubprocess.run({shell}, check=True)\nfile.write_text("mine")'
    )
    ran = edit(server, editor)
    (kept,) = temporary_files.iterdir()
    assert (ran.status, ran.out) == (1, "")
    assert "Another client changed /a while you edited it" in ran.err
    assert f"Your text is in {kept}" in ran.err
    assert kept.read_text() == "mine"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_server_may_restart_meanwhile(
    server: ServerProcess, client: Any, temporary_files: Path
) -> None:
    client.create("/a", b"old")

    def restarting(*_: object) -> bytes:
        server.restart()
        return b"new"

    with mock.patch("zoolet.shell.commands.editing._edited", restarting):
        assert edit(server, "any").out == "Set /a, version 1\n"
    assert list(temporary_files.iterdir()) == []


@pytest.mark.parametrize(
    ("editor", "reason"),
    [("false", "ended with status 1"), ("/no/editor", "cannot be started"), ("'", "started")],
)
def test_an_editor_that_fails_sets_nothing(
    server: ServerProcess, client: Any, temporary_files: Path, editor: str, reason: str
) -> None:
    client.create("/a", b"old")
    ran = edit(server, editor)
    assert ran.status == 1
    assert reason in ran.err
    assert client.get("/a")[1].version == 0
    assert list(temporary_files.iterdir()) == []


def test_what_is_refused_is_kept(
    server: ServerProcess, client: Any, tmp_path: Path, temporary_files: Path
) -> None:
    client.create("/a", b"old")
    editor = script(tmp_path, 'file.write_bytes(b"x" * 2_000_000)')
    ran = edit(server, editor)
    assert ran.status == 1
    (kept,) = temporary_files.iterdir()
    assert "jute.maxbuffer" in ran.err
    assert f"Your text is in {kept}" in ran.err
    assert kept.stat().st_size == 2_000_000
