"""Prints the output of the commands on a queue: text or JSON, for a terminal or for a program.

Invariant: data of a queue is never interpreted as markup or as control codes of a terminal; this
module escapes control characters in text. A terminal gets tables. A program gets lines that are not
wrapped, or JSON, one value in each line. This module imports click and rich.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from zoolet.console.terminal import one_line, printable


class Printer:
    """Prints the output of a command to standard output.

    Attributes:
        is_json: whether the output is JSON.
        has_terminal: whether standard output is a terminal.
    """

    def __init__(self, *, is_json: bool = False) -> None:
        self.is_json = is_json
        self.has_terminal = sys.stdout.isatty()

    def answer(self, value: Any, *lines: str) -> None:
        """Print a value as JSON, or lines of text with the same content."""
        if self.is_json:
            click.echo(json.dumps(value))
        else:
            for line in lines:
                click.echo(printable(line))

    def note(self, line: str) -> None:
        """Print a message to standard error, because it is not output of the command."""
        click.echo(printable(line), err=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
        """Print a table; all rows are read before the first row is printed."""
        if self.has_terminal:
            Console().print(table(columns, rows, title))
        else:
            for line in plain_table(columns, rows, title):
                click.echo(line)

    def records(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table; without a terminal, print one record in each line, separated by tabs."""
        if self.has_terminal:
            Console().print(table(columns, rows))
        else:
            for row in rows:
                click.echo("\t".join(map(one_line, row)))


def cell(text: object) -> Text:
    """Return data for rich, as one line without markup and control codes."""
    return Text(one_line(str(text)))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """Return a table for a terminal. A column whose name ends with # contains numbers."""
    found = Table(
        *(
            Column(
                name.removesuffix("#"),
                justify="right" if name.endswith("#") else "left",
                overflow="fold",
            )
            for name in columns
        ),
        title=cell(title) if title else None,
        title_justify="left",
    )
    for row in rows:
        found.add_row(*map(cell, row))
    return found


def plain_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = ""
) -> list[str]:
    """Return a table as lines of text, with aligned columns that are not wrapped."""
    lines = [[name.removesuffix("#") for name in columns]]
    lines += [[one_line(str(field)) for field in row] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    aligned = [
        "  ".join(
            field.rjust(width) if name.endswith("#") else field.ljust(width)
            for name, field, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    return [one_line(title), *aligned] if title else aligned
