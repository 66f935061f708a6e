"""The table of commands: what each is called, how it is written, and what does it.

Owns how words are cut from a line and read as a command's arguments. Knows no server. The commands
themselves are in ``commands/``, a module for each kind, and enter the table when it is imported.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from zoolet.model import paths
from zoolet.shell.errors import CommandError, UnknownCommandError, UsageError

if TYPE_CHECKING:
    from zoolet.shell.context import Context


class Answer(NamedTuple):
    """One thing that a command says.

    Attributes:
        value: what ``--output json`` prints, in a line.
        text: what is printed otherwise, without the line feed at its end; None: nothing.
        document: JSON that is printed before the text, on a terminal indented and in colours.
    """

    value: Any
    text: str | None = None
    document: str | None = None


Run = Callable[["Context", argparse.Namespace], Iterator[Answer]]
"""Does a command, and yields what it says."""


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


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the shell.

    Attributes:
        name: what is typed.
        usage: how it is written.
        summary: what it does, in a line.
        positional: the names of its other arguments, in brackets what may be left out.
        options: its options.
        parser: reads its options.
        run: does it.
        changes: whether it may change what is on a server.
        is_local: whether it needs no connection.
        is_live: whether it goes on until it is ended, so that nothing of it waits for a page.
    """

    name: str
    usage: str
    summary: str
    positional: tuple[str, ...]
    options: tuple[Option, ...]
    parser: argparse.ArgumentParser
    run: Run
    changes: bool
    is_local: bool
    is_live: bool

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Return the arguments that ``words`` are; raises UsageError or CommandError."""
        end = words.index("--") if "--" in words else len(words)
        arguments, positional = self.parser.parse_known_args(list(words[:end]))
        for word in positional:
            if word.startswith("-") and word != "-" and not _NEGATIVE_NUMBER.fullmatch(word):
                self.parser.error(f"no such option: {word} (put -- before words that are none)")
        self._place([*positional, *words[end + 1 :]], arguments)
        if getattr(arguments, "path", None) is not None:
            check_path(arguments.path)
        return arguments

    def _place(self, words: list[str], arguments: argparse.Namespace) -> None:
        """Give the words that are no options their names."""
        required = [name for name in self.positional if not name.startswith("[")]
        if len(words) < len(required):
            self.parser.error(f"missing: {', '.join(required[len(words) :])}")
        if len(words) > len(self.positional):
            self.parser.error(f"too many words: {' '.join(words[len(self.positional) :])}")
        for name, word in zip_longest(self.positional, words):
            setattr(arguments, name.strip("[]"), word)


COMMANDS: dict[str, Command] = {}


def command(
    usage: str,
    summary: str,
    *options: Option,
    changes: bool = False,
    is_local: bool = False,
    is_live: bool = False,
) -> Callable[[Run], Run]:
    """Add a function to the table.

    ``usage`` names the command and its positional arguments, those that may be left out in
    brackets.
    """

    def add(run: Run) -> Run:
        name, *positional = usage.split()
        written = " ".join([name, *(f"[{option.written}]" for option in options), *positional])
        parser = _Parser(prog=name, usage=written, add_help=False, allow_abbrev=False)
        for option in options:
            _add_option(parser, option)
        COMMANDS[name] = Command(
            *(name, written, summary, tuple(positional), options, parser, run),
            *(changes, is_local, is_live),
        )
        return run

    return add


def find(name: str) -> Command:
    """Return the command of a name; raises UnknownCommandError."""
    try:
        return COMMANDS[name]
    except KeyError:
        raise UnknownCommandError(f"Command not found: {name}; help lists the commands") from None


def check_path(path: str) -> None:
    """Raise CommandError where ``path`` is none, saying what is wrong with it."""
    reason = paths.reason_invalid(path)
    if reason is not None:
        raise CommandError(f"Path {path!r} is not valid: {reason}")


_NEGATIVE_NUMBER = re.compile(r"-\d+(\.\d+)?")

BLANKS = " \t\n\v\f\r"
r"""What separates words: ASCII's blanks, as in Apache's shell. Another space is part of a word.

These are the characters that ``\s`` matches with ``re.ASCII``.
"""

_WORD = re.compile(
    r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^\s"']\S*))""", re.ASCII
)


def split_line(line: str) -> list[str]:
    r"""Cut a line into words, as the original does: JSON and backslashes stand as they are.

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


class _Parser(argparse.ArgumentParser):
    """Reads a command's words; what is wrong with them is a UsageError."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\nusage: {self.usage}")


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    flag = f"-{option.name}"
    if option.value is None:
        parser.add_argument(flag, action="store_true")
    else:
        parser.add_argument(
            flag, type=option.type, choices=option.choices or None, metavar=option.value
        )
