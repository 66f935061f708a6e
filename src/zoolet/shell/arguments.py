"""A typed line as words, and the words as a command's arguments.

What is wrong with them is a UsageError or a CommandError that says what to write. Knows no command.
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
r"""What separates words: ASCII's blanks, as in Apache's shell. Another space is part of a word.

These are the characters that ``\s`` matches with ``re.ASCII``.
"""

_WORD = re.compile(
    r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^\s"']\S*))""", re.ASCII
)


def split_line(line: str) -> list[str]:
    r"""Cut a line into words, as Apache ZooKeeper does: JSON and backslashes stand as they are.

    A word that begins with a quote goes to the next one like it; any other goes to the next space,
    whatever it holds.
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
        name: its letter or word.
        help: what it does, in a line.
        value: the name of its value; None: it has none.
        type: what its value is read as.
        choices: the values it may have; empty: any.
    """

    name: str
    help: str
    value: str | None = None
    type: Callable[[str], object] = str
    choices: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """How it is written."""
        return f"-{self.name} {self.value}" if self.value else f"-{self.name}"


class Parser(argparse.ArgumentParser):
    """Reads the words of a command's line.

    Args:
        name: of the command.
        usage: how the command is written.
        positional: the names of the arguments that are no options, in brackets what may be left
            out.
        options: what the command has beside them.
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
        """Return the arguments that ``words`` are; raises UsageError or CommandError."""
        end = words.index("--") if "--" in words else len(words)
        arguments, positional = self.parse_known_args(list(words[:end]))
        for word in positional:
            if word.startswith("-") and word != "-" and not _NEGATIVE_NUMBER.fullmatch(word):
                self.error(f"no such option: {word} (put -- before words that are none)")
        self._place([*positional, *words[end + 1 :]], arguments)
        if getattr(arguments, "path", None) is not None:
            check_path(arguments.path)
        return arguments

    def _place(self, words: list[str], arguments: argparse.Namespace) -> None:
        """Give the words that are no options their names."""
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
    """Raise CommandError where ``path`` is none, saying what is wrong with it."""
    reason = paths.reason_invalid(path)
    if reason is not None:
        raise CommandError(f"Path {path!r} is not valid: {reason}")
