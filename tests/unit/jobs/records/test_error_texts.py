"""The text of an exception: its type and where it was raised are in it, however long it is."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from zoolet.jobs.execution.attempts import Attempter, Setup, Work
from zoolet.jobs.records.error_texts import KEPT_CHARACTERS, LOGGED_CHARACTERS, ErrorText, describe
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.progress import Progress


def described(function: Callable[[], object]) -> ErrorText:
    try:
        function()
    except BaseException as error:  # noqa: BLE001
        return describe(error)
    raise AssertionError("nothing was raised")


def last_line(text: str) -> str:
    return next(line for line in reversed(text.splitlines()) if not line.startswith(" "))


def deep(levels: int, error: BaseException) -> None:
    if levels:
        deep(levels - 1, error)
    raise error


def test_a_long_message_keeps_the_type_and_the_frames() -> None:
    text = described(lambda: deep(20, ValueError("x" * 3000)))
    assert "[18 frames left out]" in text.short
    assert text.short.count(", in deep") == 5
    assert last_line(text.short) == f"ValueError: {'x' * 500} [2500 characters left out]"
    assert "x" * 3000 in text.full
    assert text.full.count(", in deep") == 21


def test_lines_of_a_message_and_notes_are_indented() -> None:
    error = ValueError("one\ntwo\n\nthree")
    error.add_note("a note\nof two lines")
    text = described(lambda: deep(0, error)).short
    assert last_line(text) == "ValueError: one"
    assert text.endswith("    two\n    \n    three\n    a note\n    of two lines")


def test_the_exceptions_before_it_are_told() -> None:
    def chained() -> None:
        try:
            deep(3, OSError("first"))
        except OSError:
            try:
                deep(1, KeyError("second"))
            except KeyError as error:
                raise RuntimeError("third") from error

    text = described(chained).short
    places = [text.index(part) for part in ("OSError: first", "KeyError: 'second'", "RuntimeError")]
    assert places == sorted(places)
    assert last_line(text) == "RuntimeError: third"


def test_a_chain_without_end_and_one_that_is_a_circle() -> None:
    first = ValueError("x" * 1000)
    error: BaseException = first
    for number in range(5000):
        error.__cause__ = OSError(number)
        error = error.__cause__
    text = described(lambda: deep(0, first))
    assert "[earlier exceptions are left out]" in text.short
    assert last_line(text.short).startswith("ValueError: xxx")
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert last_line(described(lambda: deep(0, one)).short) == "ValueError: one"


def test_an_endless_recursion() -> None:
    def again() -> None:
        again()

    text = described(again)
    assert "frames left out" in text.short
    assert last_line(text.short).startswith("RecursionError: maximum recursion depth")
    assert len(text.full) <= LOGGED_CHARACTERS


def test_a_group_names_its_members() -> None:
    members = [ValueError(f"{n}" * 300) for n in range(9)]
    group = ExceptionGroup("many", [ExceptionGroup("inner", members), TypeError("t")])
    text = described(lambda: deep(0, group)).short
    assert "- ExceptionGroup: inner (9 sub-exceptions)" in text
    assert "- ValueError: 000" in text
    assert "- [4 more]" in text
    assert "- TypeError: t" in text
    assert last_line(text) == "ExceptionGroup: many (2 sub-exceptions)"


def test_a_syntax_error_names_its_place() -> None:
    text = described(lambda: compile("x = (\n", "some.py", "exec")).short
    assert "in some.py, line 1: x = (" in text
    assert last_line(text) == "SyntaxError: '(' was never closed"


class HostileError(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class HostileNotesError(Exception):
    __notes__: Any = 7


class NumberError(Exception):
    def __str__(self) -> Any:
        return 5  # noqa: PLE0307


def hostile_attribute() -> BaseException:
    class UnreadableError(SyntaxError):
        lineno = 3

        @property
        def filename(self) -> str:  # type: ignore[override]
            raise KeyboardInterrupt

    return UnreadableError("x")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (HostileError(), "HostileError"),
        (HostileNotesError("x"), "HostileNotesError"),
        (NumberError(), "NumberError"),
        (hostile_attribute(), "UnreadableError"),
        (SystemExit(7), "SystemExit: 7"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (type("N" * 5000, (Exception,), {})("x"), "NNN"),
        (ValueError(), "ValueError"),
    ],
)
def test_whatever_the_exception_does_its_type_is_told(error: BaseException, name: str) -> None:
    text = described(lambda: deep(0, error))
    assert name in last_line(text.short)
    assert len(text.short) <= KEPT_CHARACTERS


def test_no_character_controls_a_terminal_and_all_can_be_encoded() -> None:
    text = described(lambda: deep(0, ValueError("\x1b[31m \ud800 \x00 \x85 \u202e \r ü"))).short
    assert text.encode()
    assert last_line(text) == "ValueError: \\x1b[31m \\ud800 \\x00 \\x85 \\u202e \\r ü"


class Deaf:
    def begun(self) -> None:
        pass

    def started(self, cache_hit: bool | None, dropped: tuple[Group, ...]) -> None:
        pass

    def progressed(self, progress: Progress) -> None:
        pass

    def is_wanted(self) -> bool:
        return True


def test_the_frames_of_the_job_system_are_left_out() -> None:
    work = Work("a", "no_such_module:f", "d", "1", {}, None)
    text = Attempter(Setup()).attempt(work, Deaf()).error
    assert text is not None
    assert "attempts.py" not in text
    assert "No module named 'no_such_module'" in last_line(text)


@pytest.mark.parametrize("seed", range(100))
def test_any_exception_is_within_the_limits(seed: int) -> None:
    chance = random.Random(seed)

    def some_text() -> str:
        letters = chance.choice(["x", "\n", "ü", "\U0001f600", "\x1b", "\ud800", "a b\n"])
        return letters * chance.choice([0, 1, 30, 600, 5000])

    def some_error(levels: int) -> Exception:
        if levels and chance.random() < 0.3:
            members = [some_error(levels - 1) for _ in range(chance.randrange(1, 8))]
            error: Exception = ExceptionGroup(some_text(), members)
        else:
            kind = chance.choice([ValueError, KeyError, OSError, HostileError, UnicodeError])
            error = kind(some_text())
        if levels and chance.random() < 0.5:
            error.__cause__ = some_error(levels - 1)
        elif levels and chance.random() < 0.5:
            error.__context__ = some_error(levels - 1)
        for _ in range(chance.choice([0, 0, 1, 40])):
            error.add_note(some_text())
        return error

    error = some_error(5)
    text = described(lambda: deep(chance.choice([0, 3, 300]), error))
    assert len(text.short) <= KEPT_CHARACTERS
    assert len(text.full) <= LOGGED_CHARACTERS
    assert type(error).__name__ in text.short
    assert text.short.encode()
