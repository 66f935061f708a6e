"""The tables of ``zoolet top``, for a terminal of any size and as plain text.

Invariant: names from servers are never interpreted as markup or as control codes of the terminal.
This module imports rich.
"""

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group
from rich.text import Text

from zoolet.console.printing import plain_table
from zoolet.console.terminal import one_line
from zoolet.console.texts import counted
from zoolet.top.reports import Kind, Report, Row

_TITLES: Final = {
    "session": "session",
    "address": "address",
    "path": "path",
    "operation": "operation",
    "last_operation": "last",
    "requests_per_s": "requests/s#",
    "error_per_s": "±#",
    "writes_per_s": "writes/s#",
    "bytes_per_s": "bytes/s#",
    "samples": "samples#",
}
_HEADINGS: Final = {"parents": "parent", "addresses": "address"}
_NARROW: Final = 60
_FEW: Final = ("requests_per_s", "error_per_s")
_FRAME_LINES: Final = 2
"""The lines of a table without its rows."""

_LEAST_ROWS: Final = 4
"""The rows for which there must be room, or a table after the first one is left out."""

Tables = list[tuple[list[str], list[Sequence[str]]]]


def tables(report: Report, rows: int, width: int | None = None) -> Tables:
    """Return the columns and rows of each table with rows; a narrow terminal gets fewer columns."""
    found: Tables = []
    is_narrow = width is not None and width < _NARROW
    for name, texts in report.texts.items():
        listed = report.tables.get(name, [])[:rows]
        figures = [one for one in report.figures if not is_narrow or one in _FEW]
        columns = [_TITLES[one] for one in figures] + [_TITLES[one] for one in texts]
        if name in _HEADINGS:
            columns[-1] = _HEADINGS[name]
        if listed:
            found.append((columns, [_cells(row, figures, texts) for row in listed]))
    return found


def heading(report: Report) -> str:
    """Return the line above the tables of a server."""
    if report.kind is Kind.NOTHING:
        return report.server
    per_s = _figure(report.total.get("requests_per_s", 0))
    line = f"{report.server}   {per_s} requests/s in the last {report.covered_s:.0f} s"
    if report.kind is Kind.COUNTERS:
        return f"{line}, with pings"
    looked = "all requests" if report.gap == 1 else f"1 of {report.gap:,} requests"
    samples = counted(int(report.total["samples"]), "sample")
    return f"{line} (± {_figure(report.total['error_per_s'])}; {samples}, now {looked})"


def plain(reports: Sequence[Report], rows: int) -> list[str]:
    """Return the reports as lines of text."""
    lines: list[str] = []
    for report in reports:
        lines += [""] if lines else []
        lines.append(one_line(heading(report)))
        lines += [one_line(report.note)] if report.note else []
        for columns, listed in tables(report, rows):
            lines += ["", *plain_table(columns, listed)]
    return lines


def render(reports: Sequence[Report], rows: int, width: int, height: int) -> Group:
    """Return the reports for a terminal: the tables and rows that fit, at least one row."""
    parts: list[Text] = []
    lines = max(1, height // max(1, len(reports)))
    for report in reports:
        parts.append(Text(one_line(heading(report)), style="bold"))
        if report.note:
            parts.append(Text(one_line(report.note)))
        left = lines - sum(1 + len(text) // width for text in (heading(report), report.note))
        shown = tables(report, rows, width)[: max(1, left // (_FRAME_LINES + _LEAST_ROWS))]
        each = max(1, left // max(1, len(shown)) - _FRAME_LINES)
        for columns, listed in shown:
            head, *rest = plain_table(columns, listed[:each])
            parts.append(Text(""))
            parts.append(Text(head, style="bold", no_wrap=True, overflow="ellipsis"))
            parts += [Text(line, no_wrap=True, overflow="ellipsis") for line in rest]
    return Group(*parts)


def _cells(row: Row, figures: Sequence[str], texts: Sequence[str]) -> Sequence[str]:
    return [*(_figure(row[name]) for name in figures), *(str(row[name]) for name in texts)]


def _figure(value: Any) -> str:
    """Return a number for people: small ones with digits after the point."""
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"
