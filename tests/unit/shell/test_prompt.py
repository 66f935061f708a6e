"""Completion, colours and history, on a tree and a file that the test makes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prompt_toolkit.document import Document

from zoolet.shell.completion import TreeCompleter
from zoolet.shell.prompt import LineLexer, PrivateHistory

TREE = {
    "/": ["jobs", "jobless", "zookeeper", "with space", "it's two", "two words", "two worlds"],
    "/jobs": ["a", "b"],
    "/big": [f"n-{number:06d}" for number in range(300_000)],
    "/wide": ["no\u00a0break", "em\u2003space", "ideographic\u3000space"],
}


def complete(line: str) -> str | list[str]:
    """Return what TAB makes of a line; the names that it shows if the line stays as it is."""
    found = TreeCompleter(lambda path: TREE.get(path, [])).complete(line)
    before = line[: len(line) - len(found.word)]
    becomes = before + (found.shared if found.whole is None else found.whole)
    return becomes if becomes != line else list(found.names)


def test_commands_are_completed() -> None:
    assert complete("getA") == ["getAcl", "getAllChildrenNumber"]
    assert complete("getAl") == "getAllChildrenNumber"
    assert "tree" in complete("")
    assert complete("nonsense") == []


def test_paths_are_completed_from_the_tree() -> None:
    assert complete("ls /jo") == "ls /job"
    assert complete("ls /job") == ["jobless", "jobs"]
    assert complete("ls -s /jobs/") == ["a", "b"]
    assert complete("ls /missing/x") == []
    assert complete("cp /jobs/a /z") == "cp /jobs/a /zookeeper"


def test_a_path_with_blanks_is_quoted() -> None:
    assert complete("get /w") == "get '/with space'"
    assert complete('get "/with s') == 'get "/with space"'
    assert complete("get /i") == 'get "/it\'s two"'
    assert complete("get /t") == "get '/two wor"
    assert complete("get '/two wor") == ["two words", "two worlds"]


@pytest.mark.parametrize("name", TREE["/wide"])
def test_another_space_than_ascii_is_part_of_a_word(name: str) -> None:
    """Of an ASCII blank the line would need quotes; of another space it must not get any."""
    assert complete(f"get /wide/{name[0]}") == f"get /wide/{name}"
    assert complete(f"get /wide/{name[:-2]}") == f"get /wide/{name}"


def test_options_and_their_values_are_completed() -> None:
    assert complete("ls -") == ["-s", "-w", "-R"]
    assert complete("addWatch -m PERSISTENT_") == "addWatch -m PERSISTENT_RECURSIVE"
    assert complete("printwatches ") == "printwatches o"
    assert complete("printwatches o") == ["on", "off"]
    assert complete("help whoa") == "help whoami"


@pytest.mark.parametrize(("typed", "count"), [("n-", 300_000), ("n-0", 100_000), ("n-003", 1000)])
def test_every_child_counts_however_many(typed: str, count: int) -> None:
    assert complete("ls /big/") == "ls /big/n-"
    assert len(complete(f"ls /big/{typed}")) == count


@pytest.mark.parametrize(
    ("line", "styles"),
    [
        ("ls -s /a 'b c'", ["ansigreen bold", "ansicyan", "ansiblue", "ansiyellow"]),
        ("lss x", ["ansired", ""]),
        ("ls /a\u00a0b /c", ["ansigreen bold", "ansiblue", "ansiblue"]),
    ],
)
def test_lines_are_coloured(line: str, styles: list[str]) -> None:
    coloured: Callable[[int], object] = LineLexer().lex_document(Document(line))
    pieces = coloured(0)
    assert isinstance(pieces, list)
    assert "".join(piece[1] for piece in pieces) == line
    assert [style for style, text in pieces if not text.isspace()] == styles


def test_history_is_private_and_keeps_no_passwords(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = PrivateHistory(path)
    history.append_string("ls /")
    history.append_string("  addauth digest ann:secret")
    history.append_string("addauth\u00a0digest ann:secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "secret" not in path.read_text()
    assert list(PrivateHistory(path).load_history_strings()) == ["ls /"]


def test_a_history_that_cannot_be_kept_is_no_harm(tmp_path: Path) -> None:
    history = PrivateHistory(tmp_path / "missing" / "history")
    history.append_string("ls /")
    assert list(history.load_history_strings()) == []
    assert list(history.get_strings()) == ["ls /"]
