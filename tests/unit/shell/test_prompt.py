"""Completion, colours and history, on a tree and a file that the test makes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from zoolet.shell.prompt import LineLexer, PrivateHistory, TreeCompleter

TREE = {
    "/": ["jobs", "jobless", "zookeeper", "with space"],
    "/jobs": ["a", "b"],
    "/big": [f"n-{number:06d}" for number in range(300_000)],
}


def complete(line: str) -> list[tuple[str, str]]:
    """Return what the end of a line may become, and how that is shown."""
    completer = TreeCompleter(lambda path: TREE.get(path, []))
    found = completer.get_completions(Document(line), CompleteEvent(completion_requested=True))
    return [(line[: len(line) + one.start_position] + one.text, one.display_text) for one in found]


def lines(line: str) -> list[str]:
    return [completed for completed, _ in complete(line)]


def test_commands_are_completed() -> None:
    assert lines("getA") == ["getAcl", "getAllChildrenNumber"]
    assert "tree" in lines("")
    assert lines("nonsense") == []


def test_paths_are_completed_from_the_tree() -> None:
    assert complete("ls /job") == [("ls /jobless", "jobless"), ("ls /jobs", "jobs")]
    assert lines("ls -s /jobs/") == ["ls -s /jobs/a", "ls -s /jobs/b"]
    assert lines("ls /missing/x") == []
    assert lines("cp /jobs/a /z") == ["cp /jobs/a /zookeeper"]


def test_a_path_with_spaces_is_quoted() -> None:
    assert lines("get /w") == ["get '/with space'"]
    assert lines('get "/with s') == ['get "/with space"']


def test_options_and_their_values_are_completed() -> None:
    assert lines("ls -") == ["ls -s", "ls -w", "ls -R"]
    assert lines("addWatch -m PERSISTENT_") == ["addWatch -m PERSISTENT_RECURSIVE"]
    assert lines("printwatches o") == ["printwatches on", "printwatches off"]
    assert lines("help whoa") == ["help whoami"]


def test_too_many_children_are_not_listed_whole() -> None:
    assert lines("ls /big/") == ["ls /big/n-"]
    found = complete("ls /big/n-")
    assert len(found) == 1001
    assert found[-1] == ("ls /big/n-", "... and 299,000 more")
    assert lines("ls /big/n-29999") == [f"ls /big/n-29999{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("line", "styles"),
    [
        ("ls -s /a 'b c'", ["ansigreen bold", "ansicyan", "ansiblue", "ansiyellow"]),
        ("lss x", ["ansired", ""]),
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
    assert path.stat().st_mode & 0o777 == 0o600
    assert "secret" not in path.read_text()
    assert list(PrivateHistory(path).load_history_strings()) == ["ls /"]


def test_a_history_that_cannot_be_kept_is_no_harm(tmp_path: Path) -> None:
    history = PrivateHistory(tmp_path / "missing" / "history")
    history.append_string("ls /")
    assert list(history.load_history_strings()) == []
    assert list(history.get_strings()) == ["ls /"]
