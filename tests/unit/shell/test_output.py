"""What reaches a terminal, what reaches a program, and how a reader turns the pages."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from zoolet.console.terminal import printable
from zoolet.shell import pager
from zoolet.shell.answers import Answer
from zoolet.shell.output import Output

NASTY = "a\x1b[2J\x00\r\x9b\u202eb\tc\nd"


class Terminal(io.StringIO):
    """A terminal as far as anyone asks it."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0


@contextlib.contextmanager
def at_terminal() -> Iterator[Terminal]:
    """Give a terminal of five lines of ten characters, without colours."""
    found = Terminal()
    with (
        mock.patch.object(sys, "stdout", found),
        mock.patch.object(sys, "stdin", Terminal()),
        mock.patch.object(os, "get_terminal_size", return_value=os.terminal_size((10, 5))),
        mock.patch.dict(os.environ, {"TERM": "dumb"}),
    ):
        yield found


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is pressed at each question; a test fails where one is asked too many."""
    pressed: list[bytes] = []
    monkeypatch.setattr(pager, "_read_key", lambda: pressed.pop(0))
    return pressed


def shown(terminal: Terminal) -> str:
    """Return what was printed without the questions, which are erased again."""
    question = "".join(("-- more: Space a page, Enter a line, q no more --", "\r", " " * 9, "\r"))
    return terminal.getvalue().replace(question, "<>")


def test_no_control_character_reaches_a_terminal() -> None:
    safe = printable(NASTY)
    assert safe == "a\\x1b[2J\\x00\\r\\x9b\\u202eb\tc\nd"
    assert printable("grün 漢字 \\x41") == "grün 漢字 \\x41"


def test_a_terminal_is_safe_from_answers_events_and_errors() -> None:
    errors = Terminal()
    with at_terminal() as terminal, mock.patch.object(sys, "stderr", errors):
        for is_json in (False, True):
            output = Output(is_json=is_json, has_pager=False)
            document = json.dumps({"a": NASTY}, ensure_ascii=False)
            output.show([Answer(NASTY, NASTY), Answer(NASTY, document=document)])
            output.say(Answer(NASTY, NASTY))
            output.complain(NASTY)
    for written in (terminal.getvalue(), errors.getvalue()):
        assert "2J" in written
        assert {character for character in written if not character.isprintable()} <= {"\n", "\t"}


def test_a_program_gets_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(is_json=False, has_pager=True)
    output.show([Answer({}, NASTY), Answer({}, None), Answer({}, "stat", document='{"a":1}')])
    assert capsys.readouterr().out == f'{NASTY}\n{{"a":1}}\nstat\n'


def test_json_is_a_value_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(is_json=True, has_pager=True)
    output.show([Answer({"a": "ü\n"}, "text"), Answer([1], None)])
    output.complain("no")
    captured = capsys.readouterr()
    assert captured.out == '{"a": "ü\\n"}\n[1]\n'
    assert json.loads(captured.err) == {"error": "no"}


def test_nobody_is_asked_where_there_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert Output(is_json=False, has_pager=True).confirm("sure?")


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y", True), ("YES", True), ("", False), ("n", False)]
)
def test_a_person_is_asked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    agreed: bool,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(f"{typed}\n"))
    assert Output(is_json=False, has_pager=True).confirm("sure?") is agreed
    assert capsys.readouterr().err == "sure? [y/N] "


def lines(count: int, asked_for: list[int]) -> Iterator[Answer]:
    for number in range(count):
        asked_for.append(number)
        yield Answer({}, f"line {number}")


def test_what_fits_is_not_paged(keys: list[bytes]) -> None:
    with at_terminal() as terminal:
        Output(is_json=False, has_pager=True).show(lines(4, []))
    assert shown(terminal) == "line 0\nline 1\nline 2\nline 3\n"
    assert keys == []


def test_pages_lines_and_an_end(keys: list[bytes]) -> None:
    keys += [b" ", b"\n", b"q"]
    asked_for: list[int] = []
    with at_terminal() as terminal:
        Output(is_json=False, has_pager=True).show(lines(300_000, asked_for))
    told = "".join(f"line {number}\n" for number in range(9))
    assert shown(terminal) == told[:28] + "<>" + told[28:56] + "<>" + told[56:] + "<>"
    assert asked_for[-1] == 9, "no more is asked for than is shown"


def test_a_long_line_is_paged_row_by_row(keys: list[bytes]) -> None:
    keys += [b" ", b" "]
    text = "".join(f"{number:04}-----x" for number in range(10))
    with at_terminal() as terminal:
        Output(is_json=False, has_pager=True).show([Answer({}, text)])
    assert shown(terminal) == f"{text[:40]}\n<>{text[40:80]}\n<>{text[80:]}\n"


def test_wide_characters_take_two_columns(keys: list[bytes]) -> None:
    keys += [b"q"]
    with at_terminal() as terminal:
        Output(is_json=False, has_pager=True).show([Answer({}, "漢" * 25)])
    assert shown(terminal) == "漢" * 20 + "\n<>"


def test_documents_are_paged_too(keys: list[bytes]) -> None:
    keys += [b"q"]
    document = json.dumps([1, 2, 3, 4, 5])
    with at_terminal() as terminal:
        Output(is_json=False, has_pager=True).show([Answer({}, document=document)])
    assert shown(terminal) == "[\n  1,\n  2,\n  3,\n<>"


@pytest.mark.parametrize(("is_live", "has_pager"), [(True, True), (False, False)])
def test_without_pages_nothing_stops(keys: list[bytes], is_live: bool, has_pager: bool) -> None:
    with at_terminal() as terminal:
        Output(is_json=False, has_pager=has_pager).show(lines(100, []), is_live=is_live)
    assert shown(terminal).count("\n") == 100
    assert keys == []


def test_progress_is_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(is_json=False, has_pager=True).progress("Doing", 3) as advance:
        step: Callable[[int], None] = advance
        step(3)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
