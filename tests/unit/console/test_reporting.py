"""A command that fails shows a message, without characters that control the terminal."""

import click
import pytest
from click.testing import CliRunner

from zoolet.console.reporting import reporting


class WrongError(Exception):
    """An expected error."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/a: wrong", "/a: wrong"),
        ("/\u202egpj", "/\\u202egpj"),
        ("/\x1b[31m", "/\\x1b[31m"),
        ("one\ntwo", "one\ntwo"),
        ("é 漢", "é 漢"),
    ],
)
def test_an_expected_error_is_shown_and_escaped(text: str, shown: str) -> None:
    @click.command()
    @reporting(WrongError)
    def command() -> None:
        raise WrongError(text)

    done = CliRunner().invoke(command)
    assert (done.exit_code, done.output) == (1, f"zoolet: {shown}\n")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("wrong"), "zoolet: wrong"),
        (OSError(28, "No space left"), "Free space on this disk"),
        (MemoryError(), "zoolet: not enough memory"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_expected_error_is_a_message(error: Exception, text: str) -> None:
    @click.command()
    @reporting(ValueError)
    def command() -> None:
        raise error

    result = CliRunner().invoke(command)
    assert result.exit_code == 1
    assert text in result.output
    assert "Traceback" not in result.output
