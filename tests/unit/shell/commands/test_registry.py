"""How a line becomes words, and words a command's arguments, without a server."""

import pytest

from tests.support.shell import run_shell
from zoolet.shell.commands.arguments import split_line
from zoolet.shell.commands.registry import COMMANDS, find
from zoolet.shell.errors import CommandError, UnknownCommandError, UsageError

NOWHERE = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("create /a 'two words' \"x\"", ["create", "/a", "two words", "x"]),
        ('set /a {"b":1}', ["set", "/a", '{"b":1}']),
        ("set /a '{\"b\": 1}'", ["set", "/a", '{"b": 1}']),
        (r"set /a C:\new", ["set", "/a", r"C:\new"]),
        ("set /a it's", ["set", "/a", "it's"]),
        ("set /a ''", ["set", "/a", ""]),
        ("  ls\t/ ", ["ls", "/"]),
        ("  ", []),
        ("set /a\u00a0b x\u00a0y", ["set", "/a\u00a0b", "x\u00a0y"]),
        ("get /a\u2003b\u3000", ["get", "/a\u2003b\u3000"]),
        ("set /a x\x1cy\x85z\u2028", ["set", "/a", "x\x1cy\x85z\u2028"]),
        ("\u00a0", ["\u00a0"]),
        ("ls\v/\f", ["ls", "/"]),
    ],
)
def test_lines_are_cut_as_the_original_cuts_them(line: str, words: list[str]) -> None:
    assert split_line(line) == words


@pytest.mark.parametrize("line", ["create '/a", 'create /a "b', "'"])
def test_a_quote_that_is_not_closed_is_said(line: str) -> None:
    with pytest.raises(UsageError, match="not closed"):
        split_line(line)


def test_options_stand_anywhere_and_together() -> None:
    for words in (["-s", "-v", "3", "/a", "x"], ["/a", "-sv3", "x"], ["/a", "x", "-v", "3", "-s"]):
        arguments = find("set").read(words)
        assert (arguments.s, arguments.v, arguments.path, arguments.data) == (True, 3, "/a", "x")


def test_data_may_look_like_an_option() -> None:
    assert find("set").read(["/a", "-5"]).data == "-5"
    assert find("set").read(["/a", "-"]).data == "-"
    assert find("set").read(["-s", "--", "/a", "-s"]).data == "-s"
    assert find("create").read(["/a"]).data is None


@pytest.mark.parametrize(
    ("words", "error", "reason"),
    [
        (["nonsense"], UnknownCommandError, "Command not found: nonsense"),
        (["ls"], UsageError, r"missing: path\nusage: ls \[-s\] \[-w\] \[-R\] path"),
        (["get", "/a", "/b"], UsageError, "too many words: /b"),
        (["ls", "-q", "/a"], UsageError, "no such option: -q"),
        (["set", "-v", "x", "/a", "b"], UsageError, "invalid int value"),
        (["addWatch", "-m", "x", "/a"], UsageError, "PERSISTENT_RECURSIVE"),
        (["get", "a"], CommandError, "starts with /"),
        (["get", "/a/"], CommandError, "does not end"),
        (["create", "/a\x1b", "b"], CommandError, r"\\x1b"),
    ],
)
def test_what_is_written_wrong_is_said(
    words: list[str], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        find(words[0]).read(words[1:])


def test_every_command_has_help() -> None:
    for name, command in COMMANDS.items():
        assert command.usage.startswith(name)
        assert command.summary
        assert all(option.help for option in command.options)


def test_a_shell_without_a_server_ends() -> None:
    ran = run_shell(NOWHERE, "help", options=("-timeout", "100"))
    assert ran.status == 1
    assert f"no ZooKeeper server answers at {NOWHERE} within 0.1 s" in ran.err


@pytest.mark.parametrize("hosts", ["127.0.0.1:x", "127.0.0.1:1:2"])
def test_hosts_that_are_none_are_said(hosts: str) -> None:
    ran = run_shell(hosts, "help")
    assert (ran.status, ran.out) == (1, "")
    assert "HOST:PORT" in ran.err
