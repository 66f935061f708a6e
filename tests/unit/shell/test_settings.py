"""What the shell's own command line means."""

from pathlib import Path

import pytest

from zoolet.shell import settings as settings_module
from zoolet.shell.settings import read_settings


def test_what_holds_unless_something_is_said() -> None:
    settings = read_settings([], {"HOME": "/home/ann"})
    assert (settings.connection.hosts, settings.connection.connect_timeout_ms) == (
        "127.0.0.1:2181",
        30_000,
    )
    assert (settings.command, settings.is_json, settings.refuses_changes) == ((), False, False)
    assert (settings.history_path, settings.editor) == (Path("/home/ann/.zoolet_history"), "vi")


def test_the_command_keeps_its_own_options() -> None:
    settings = read_settings(["-server", "h:1", "-r", "--output", "json", "get", "-s", "/a"], {})
    assert (settings.connection.hosts, settings.is_json) == ("h:1", True)
    assert settings.connection.takes_read_only_server
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
        ["--auth", "digest"],
    ],
)
def test_what_is_written_wrong_ends_with_status_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(argv, {})
    assert ended.value.code == 2
    assert "usage: zkCli.sh" in capsys.readouterr().err


@pytest.mark.parametrize(
    "dash", ["\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2212", "\uff0d"]
)
@pytest.mark.parametrize("times", [1, 2])
def test_options_copied_from_web_pages_have_other_dashes(dash: str, times: int) -> None:
    dashes = dash * times
    written = [f"{dashes}server", "h:1", f"{dashes}r", f"{dashes}timeout", "50", f"{dash}no-pager"]
    settings = read_settings([*written, "get", f"{dash}s", "/a"], {})
    assert (settings.connection.hosts, settings.connection.session_timeout_ms) == ("h:1", 50)
    assert (settings.connection.takes_read_only_server, settings.has_pager) == (True, False)
    assert settings.command == ("get", f"{dash}s", "/a")


@pytest.mark.parametrize("written", [["--server", "h:1"], ["--server=h:1"], ["\u2014server=h:1"]])
def test_options_of_one_word_have_two_dashes_too(written: list[str]) -> None:
    settings = read_settings([*written, "--timeout", "50", "set", "/a", "\u2013server"], {})
    assert (settings.connection.hosts, settings.connection.session_timeout_ms) == ("h:1", 50)
    assert settings.command == ("set", "/a", "\u2013server")


def test_an_option_that_does_not_exist_is_still_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for written in ("\u2013servers", "--servers"):
        with pytest.raises(SystemExit) as ended:
            read_settings([written, "h:1"], {})
        assert ended.value.code == 2
        assert "servers" in capsys.readouterr().err


def test_the_flags_are_those_of_the_parser() -> None:
    parsed = {
        name
        for action in settings_module._parser({})._actions
        if action.nargs == 0
        for name in action.option_strings
    }
    assert parsed == settings_module.FLAGS


def test_the_environment_has_what_ps_must_not_show(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    environment = {
        "ZOOLET_SERVER": "h:1",
        "ZOOLET_AUTH": "digest:ann:a b\ndigest:bob:c",
        "ZOOLET_TLS_CA": str(tmp_path / "ca"),
        "ZOOLET_TLS_CERT": str(tmp_path / "cert"),
        "ZOOLET_TLS_KEY": str(tmp_path / "key"),
    }
    connection = read_settings([], environment).connection
    assert connection.hosts == "h:1"
    assert connection.auth == (("digest", "ann:a b"), ("digest", "bob:c"))
    assert connection.tls == (tmp_path / "ca", tmp_path / "cert", tmp_path / "key")
    assert "ann" not in repr(connection)
    given = read_settings(["-server", "i:2", "--auth", "digest:x:y"], environment).connection
    assert (given.hosts, given.auth) == ("i:2", (("digest", "x:y"),))
