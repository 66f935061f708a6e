"""How commands are read and what is printed, without a server."""

import pytest
from kazoo.protocol.states import ZnodeStat

from zoolet.shell.commands import COMMANDS, execute, split_line
from zoolet.shell.errors import CommandError, UsageError
from zoolet.shell.formatting import format_data, format_names, format_stat


def run(*words: str) -> list[str]:
    """Run a command that never comes to need its client."""
    return list(execute(None, list(words)))


def test_lines_are_split_as_a_shell_does() -> None:
    assert split_line("create /a 'two words' \"x\"") == ["create", "/a", "two words", "x"]
    assert split_line("  ") == []
    with pytest.raises(UsageError, match="No closing quotation"):
        split_line("create '/a")


def test_help_names_every_command() -> None:
    lines = run("help")
    assert len(lines) == len(COMMANDS) == 9
    assert {line.split()[0] for line in lines} == set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "error", "reason"),
    [
        (["nonsense"], CommandError, "Command not found: nonsense"),
        (["ls"], UsageError, "arguments are required: path"),
        (["get", "/a", "/b"], UsageError, "unrecognized arguments"),
        (["ls", "-q", "/a"], UsageError, "usage: ls"),
        (["set", "-v", "x", "/a", "b"], UsageError, "invalid int value"),
        (["get", "a"], CommandError, "starts with /"),
        (["get", "/a/"], CommandError, "does not end"),
        (["create", "/a\x1b", "b"], CommandError, r"\\x1b"),
        (["create", "/a", "b", "world:anyone"], UsageError, "no ACL"),
        (["create", "/a", "b", "world:anyone:q"], UsageError, "no ACL"),
        (["deleteall", "/"], CommandError, "cannot be deleted"),
    ],
)
def test_what_is_written_wrong_is_said(
    words: list[str], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        run(*words)


@pytest.mark.parametrize(
    ("data", "printed"),
    [
        (None, "null"),
        (b"", ""),
        ("grün\n\tx".encode(), "grün\n\tx"),
        (b"\xff\x00\x1b[2J", "\\xff\\x00\\x1b[2J"),
        ("\u202e".encode(), "\\u202e"),
    ],
)
def test_data_never_breaks_the_terminal(data: bytes | None, printed: str) -> None:
    assert format_data(data) == printed


def test_names_are_sorted() -> None:
    assert format_names(["b", "a"]) == "[a, b]"
    assert format_names([]) == "[]"


def test_a_stat_has_the_original_s_names() -> None:
    stat = ZnodeStat(16, 17, 0, 0, 1, 2, 3, -1, 5, 6, 18)
    lines = dict(line.split(" = ") for line in format_stat(stat).splitlines())
    assert list(lines) == [
        *("cZxid", "ctime", "mZxid", "mtime", "pZxid", "cversion", "dataVersion", "aclVersion"),
        *("ephemeralOwner", "dataLength", "numChildren"),
    ]
    assert (lines["cZxid"], lines["ephemeralOwner"]) == ("0x10", "0xffffffffffffffff")
    assert lines["ctime"].startswith(("Thu Jan 01", "Wed Dec 31"))
