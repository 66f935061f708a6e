"""The table of commands: the name, the usage and the function of each command.

The commands are in the modules of ``commands/``. Importing that package adds them to the table.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from zoolet.shell.answers import Answer
from zoolet.shell.commands.arguments import Option, Parser
from zoolet.shell.context import Context
from zoolet.shell.errors import UnknownCommandError

Run = Callable[[Context, argparse.Namespace], Iterator[Answer]]
"""A function that runs a command and yields its answers."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the shell.

    Attributes:
        name: the name that the user types.
        usage: the name with all options and arguments, as help texts show it.
        summary: the help text, one line.
        positional: the names of the positional arguments; optional ones are in brackets.
        options: the options of the command.
        parser: the parser of the options and arguments.
        run: the function that runs the command.
        changes: whether the command may change data on a server.
        is_local: whether the command works without a connection.
        is_live: whether the command runs until the user stops it; its output is not paged.
    """

    name: str
    usage: str
    summary: str
    positional: tuple[str, ...]
    options: tuple[Option, ...]
    parser: Parser
    run: Run
    changes: bool
    is_local: bool
    is_live: bool

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse ``words`` and return the arguments; raises UsageError or CommandError."""
        return self.parser.read(words)


COMMANDS: dict[str, Command] = {}


def command(
    usage: str,
    summary: str,
    *options: Option,
    changes: bool = False,
    is_local: bool = False,
    is_live: bool = False,
) -> Callable[[Run], Run]:
    """Return a decorator that adds a function to the table.

    ``usage`` is the name of the command and of its positional arguments; optional arguments are in
    brackets.
    """

    def add(run: Run) -> Run:
        name, *positional = usage.split()
        written = " ".join([name, *(f"[{option.written}]" for option in options), *positional])
        parser = Parser(name, written, positional, options)
        COMMANDS[name] = Command(
            *(name, written, summary, tuple(positional), options, parser, run),
            *(changes, is_local, is_live),
        )
        return run

    return add


def find(name: str) -> Command:
    """Return the command with this name; raises UnknownCommandError."""
    try:
        return COMMANDS[name]
    except KeyError:
        raise UnknownCommandError(f"Command not found: {name}; help lists the commands") from None
