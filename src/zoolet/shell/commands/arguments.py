"""Parses a typed line into words, and words into a command's arguments.

Invalid input raises a UsageError or a CommandError whose message explains the correct form. This
module does not depend on any command.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple, NoReturn

from zoolet.model import paths
from zoolet.shell.errors import CommandError, UsageError

_NEGATIVE_NUMBER = re.compile(r"-\d+(\.\d+)?")

BLANKS = " \t\n\v\f\r"
r"""The separators of words: ASCII blanks, as in Apache's shell. Other spaces are parts of words.

These are the characters that ``\s`` matches with ``re.ASCII``.
"""

_WORD = re.compile(
    r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^\s"']\S*))""", re.ASCII
)


def split_line(line: str) -> list[str]:
    r"""Split a line into words as Apache ZooKeeper does. JSON and backslashes need no escapes.

    A word that begins with a quote ends at the next quote of the same kind. Any other word ends at
    the next blank, even if the word contains quotes.
    """
    words = []
    position, end = 0, len(line.rstrip(BLANKS))
    while position < end:
        found = _WORD.match(line, position)
        if found is None:
            raise UsageError(f"a quote is not closed: {line[position:end].strip(BLANKS)}")
        words.append(next(word for word in found.groups() if word is not None))
        position = found.end()
    return words


class Option(NamedTuple):
    """An option of a command, written with one dash.

    Attributes:
        name: the letter or word after the dash.
        help: the help text, one line.
        value: the name of the option's value in help texts; None if the option has no value.
        type: the function that converts the value.
        choices: the allowed values; empty if all values are allowed.
    """

    name: str
    help: str
    value: str | None = None
    type: Callable[[str], object] = str
    choices: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """The option with its dash and the name of its value, as help texts show it."""
        return f"-{self.name} {self.value}" if self.value else f"-{self.name}"


class Parser(argparse.ArgumentParser):
    """Parses the arguments of a command.

    Args:
        name: the name of the command.
        usage: the command with its options and arguments, for error messages.
        positional: the names of the positional arguments; optional ones are in brackets.
        options: the options of the command.
    """

    def __init__(
        self, name: str, usage: str, positional: Sequence[str], options: Sequence[Option]
    ) -> None:
        super().__init__(prog=name, usage=usage, add_help=False, allow_abbrev=False)
        self._names = positional
        for option in options:
            self._add_option(option)

    def _add_option(self, option: Option) -> None:
        flag = f"-{option.name}"
        if option.value is None:
            self.add_argument(flag, action="store_true")
        else:
            self.add_argument(
                flag, type=option.type, choices=option.choices or None, metavar=option.value
            )

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse ``words`` and return the arguments; raises UsageError or CommandError."""
        end = words.index("--") if "--" in words else len(words)
        arguments, positional = self.parse_known_args(list(words[:end]))
        for word in positional:
            if word.startswith("-") and word != "-" and not _NEGATIVE_NUMBER.fullmatch(word):
                self.error(f"no such option: {word} (put -- before words that are not options)")
        self._place([*positional, *words[end + 1 :]], arguments)
        if getattr(arguments, "path", None) is not None:
            check_path(arguments.path)
        return arguments

    def _place(self, words: list[str], arguments: argparse.Namespace) -> None:
        """Store the words that are not options under the names of the positional arguments."""
        required = [name for name in self._names if not name.startswith("[")]
        if len(words) < len(required):
            self.error(f"missing: {', '.join(required[len(words) :])}")
        if len(words) > len(self._names):
            self.error(f"too many words: {' '.join(words[len(self._names) :])}")
        for name, word in zip_longest(self._names, words):
            setattr(arguments, name.strip("[]"), word)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}\nusage: {self.usage}")


def check_path(path: str) -> None:
    """Raise CommandError with the reason if ``path`` is not a valid path."""
    reason = paths.reason_invalid(path)
    if reason is not None:
        raise CommandError(f"Path {path!r} is not valid: {reason}")
