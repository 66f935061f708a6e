"""The table of commands: what each is called, how it is written, and what does it.

The commands themselves are in ``commands/``, a module for each kind, and enter the table when it is
imported.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from zoolet.shell.answers import Answer
from zoolet.shell.arguments import Option, Parser
from zoolet.shell.context import Context
from zoolet.shell.errors import UnknownCommandError

Run = Callable[[Context, argparse.Namespace], Iterator[Answer]]
"""Does a command, and yields what it says."""


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
    parser: Parser
    run: Run
    changes: bool
    is_local: bool
    is_live: bool

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Return the arguments that ``words`` are; raises UsageError or CommandError."""
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
    """Add a function to the table.

    ``usage`` names the command and its positional arguments, those that may be left out in
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
    """Return the command of a name; raises UnknownCommandError."""
    try:
        return COMMANDS[name]
    except KeyError:
        raise UnknownCommandError(f"Command not found: {name}; help lists the commands") from None
