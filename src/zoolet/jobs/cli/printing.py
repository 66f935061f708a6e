"""What the commands on a queue print: text or JSON, to a terminal or to a program.

What holds: data of a queue is never taken for markup, nor for control codes of a terminal; what is
printed as text has its control characters escaped here. A terminal gets tables; a program gets
lines that are not wrapped, or JSON, one value in a line. Imports click, rich and zoolet.client.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from zoolet.model.terminal import one_line, printable


class Printer:
    """Prints the answers of a command to standard output.

    Attributes:
        is_json: whether answers are JSON.
        has_terminal: whether a person sees them.
    """

    def __init__(self, *, is_json: bool = False) -> None:
        self.is_json = is_json
        self.has_terminal = sys.stdout.isatty()

    def answer(self, value: Any, *lines: str) -> None:
        """Print a value as JSON, or these lines that tell the same."""
        if self.is_json:
            click.echo(json.dumps(value))
        else:
            for line in lines:
                click.echo(printable(line))

    def note(self, line: str) -> None:
        """Print to standard error what is no answer."""
        click.echo(printable(line), err=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
        """Print a table; all rows are read before."""
        if self.has_terminal:
            Console().print(table(columns, rows, title))
        else:
            for line in plain_table(columns, rows, title):
                click.echo(line)

    def records(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table, or if nobody sees it one record in a line, the fields between tabs."""
        if self.has_terminal:
            Console().print(table(columns, rows))
        else:
            for row in rows:
                click.echo("\t".join(map(one_line, row)))


def cell(text: object) -> Text:
    """Return data as rich prints it: no markup, no control codes, in one line."""
    return Text(one_line(str(text)))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> Table:
    """Return a table for a terminal. Columns whose name ends with # have numbers."""
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


def duration(ms: int | None) -> str:
    """Return a duration as a person reads it."""
    if ms is None:
        return ""
    seconds = max(0, ms) / 1000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m{seconds:02d}s" if hours else f"{minutes}m{seconds:02d}s"
