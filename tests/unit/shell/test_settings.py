"""What the shell's own command line means."""

from pathlib import Path

import pytest

from zoolet.shell.settings import read_settings


def test_what_holds_unless_something_is_said() -> None:
    settings = read_settings([], {"HOME": "/home/ann"})
    assert (settings.hosts, settings.timeout_s) == ("127.0.0.1:2181", 30.0)
    assert (settings.command, settings.is_json, settings.refuses_changes) == ((), False, False)
    assert (settings.history_path, settings.editor) == (Path("/home/ann/.zoolet_history"), "vi")


def test_the_command_keeps_its_own_options() -> None:
    settings = read_settings(["-server", "h:1", "-r", "--output", "json", "get", "-s", "/a"], {})
    assert (settings.hosts, settings.takes_read_only_server, settings.is_json) == (
        "h:1",
        True,
        True,
    )
    assert settings.command == ("get", "-s", "/a")


def test_the_visual_editor_is_preferred() -> None:
    assert read_settings([], {"EDITOR": "ed", "VISUAL": "emacs -nw"}).editor == "emacs -nw"
    assert read_settings([], {"EDITOR": "ed"}).editor == "ed"


@pytest.mark.parametrize(
    "argv",
    [
        ["-timeout", "0"],
        ["-timeout", "x"],
        ["--output", "xml"],
        ["-q"],
        ["--tls-ca", "/no/file"],
        ["--tls-cert", "/dev/null"],
        ["--tls-ca", "/dev/null", "--tls-key", "/dev/null"],
    ],
)
def test_what_is_written_wrong_ends_with_status_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(argv, {})
    assert ended.value.code == 2
    assert "usage: zkCli.sh" in capsys.readouterr().err
