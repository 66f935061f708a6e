"""The options of ``zoolet archive``."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.writer import Writer
from zoolet.archive.commands.archive import _warn, _work_dir, archive
from zoolet.archive.writing.retrying import Stopping


def test_each_archive_has_a_work_directory_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found.add(_work_dir(None, "archive"))
        assert _work_dir(None, "archive") == _work_dir(None, str(tmp_path / name / "archive"))
    found |= {_work_dir(None, url) for url in ("s3://a/b-c", "s3://a/b/c", "s3://a-b/c")}
    assert len(found) == 5
    assert _work_dir(Path("/given"), "archive") == Path("/given")
    assert len(_work_dir(None, "/" + "long/" * 500).name) < 255


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(archive, [str(each) for each in arguments])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--interval", value) for value in ("nan", "inf", "-inf", "0", "x")),
        *(("--from", value) for value in ("", "::::", "127.0.0.1:99999", ",", "h/a", "::1:2181")),
        *(("--to", value) for value in ("", "memory://x", "s3:/bucket", "file://a", "file:/a")),
    ],
)
def test_wrong_values_are_refused_with_advice(option: str, value: str, tmp_path: Path) -> None:
    given = {"--from": "127.0.0.1:1", "--to": str(tmp_path / "archive"), option: value}
    result = run(
        "--work-dir", tmp_path / "work", *(each for pair in given.items() for each in pair)
    )
    assert result.exit_code == 2
    assert option in result.output
    assert not (tmp_path / "work").exists()


def test_once_that_is_stopped_before_the_end_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path / "data")
    writer.create("/a")
    arguments = ("--from-dir", tmp_path / "data", "--to", tmp_path / "archive", "--once")
    with monkeypatch.context() as patched:
        patched.setattr(Stopping, "is_over", True)
        result = run(*arguments)
    assert result.exit_code == 1
    assert "not everything is archived" in result.output
    assert run(*arguments).exit_code == 0


def test_a_directory_without_a_log_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(tmp_path / "data")
    _warn(writer.directories)
    assert caplog.text == ""
    writer.logs()[0].unlink()
    _warn(writer.directories)
    assert "--logs" in caplog.text


@pytest.mark.parametrize("command", [["check", "x"], ["key", "x"]])
def test_options_before_a_subcommand_are_refused(command: list[str], tmp_path: Path) -> None:
    result = run("--key-file", tmp_path / "key", *command)
    assert result.exit_code == 2
    assert f"--key-file: write the options of {command[0]} after its name" in result.output


def test_names_of_objects_cannot_control_the_terminal(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "data")
    writer.create("/a")
    url = tmp_path / "archive"
    run("--from-dir", tmp_path / "data", "--to", url, "--once")
    (url / "txns" / "\x1b[2J\u202e").write_bytes(b"x")
    result = run("check", url)
    assert result.exit_code == 1
    assert "UNKNOWN  txns/\\x1b[2J\\u202e" in result.output
    assert "\x1b" not in result.output
