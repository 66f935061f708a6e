"""What a server says about its busiest clients, paths and operations. No I/O.

Another program may have written the answer, so this module checks each value and limits each table.
Source: the answer of zoolet's four-letter word ``topk``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MOST_ROWS: Final = 100
"""Most rows of a table that are read."""

_MOST_CHARACTERS: Final = 1000
_MOST_NUMBER: Final = 1e15

TABLES: Final[Mapping[str, Sequence[str]]] = {
    "clients": ("session", "address"),
    "paths": ("path",),
    "operations": ("operation",),
    "parents": ("path",),
    "addresses": ("address",),
}
"""The texts in each row of a table of samples, by the name of the table."""

FIGURES: Final = ("requests_per_s", "error_per_s", "writes_per_s", "bytes_per_s", "samples")
"""The numbers in each row of a table of samples."""

COUNTED_TABLES: Final[Mapping[str, Sequence[str]]] = {
    "clients": ("session", "address", "last_operation"),
    "addresses": ("address",),
}
"""The texts in each row of a table of counters. The only number is ``requests_per_s``."""

COUNTED_FIGURES: Final = ("requests_per_s",)

Row = dict[str, Any]


class Kind(StrEnum):
    """Where the numbers of a report are from."""

    SAMPLES = "samples"
    COUNTERS = "counters"
    NOTHING = "nothing"


class ReportError(ValueError):
    """An answer does not have the form of zoolet's."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is known about a server.

    Attributes:
        server: the address of the server.
        kind: where the numbers are from.
        note: why there are no samples, or no numbers, and what to do; "" if there are samples.
        covered_s: the time that the numbers are about, in seconds before the answer.
        gap: the server looked at one of this number of requests; 1 for all of them.
        is_incomplete: whether the numbers need another look at the server.
        total: the sum of all requests, with the names of ``FIGURES`` or ``COUNTED_FIGURES``.
        tables: rows by the name of the table; the busiest rows are first.
    """

    server: str
    kind: Kind = Kind.NOTHING
    note: str = ""
    covered_s: float = 0.0
    gap: int = 1
    is_incomplete: bool = False
    total: Row = field(default_factory=dict)
    tables: Mapping[str, list[Row]] = field(default_factory=dict)

    @property
    def texts(self) -> Mapping[str, Sequence[str]]:
        """The names of the texts in each row, by table."""
        return {Kind.SAMPLES: TABLES, Kind.COUNTERS: COUNTED_TABLES}.get(self.kind, {})

    @property
    def figures(self) -> Sequence[str]:
        """The names of the numbers in each row."""
        return FIGURES if self.kind is Kind.SAMPLES else COUNTED_FIGURES

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "server": self.server,
            "kind": str(self.kind),
            "note": self.note,
            "covered_s": self.covered_s,
            "gap": self.gap,
            "total": self.total,
            **self.tables,
        }


def parse_samples(server: str, text: str) -> Report:
    """Return the report in an answer to topk.

    Raises:
        ReportError: the answer does not have the right form.
    """
    try:
        found = json.loads(text)
        return Report(
            server,
            Kind.SAMPLES,
            covered_s=_number(found["covered_s"]),
            gap=max(1, int(_number(found["gap"]))),
            total=_row(found["total"], ()),
            tables={
                name: [_row(row, texts) for row in found[name][:MOST_ROWS]]
                for name, texts in TABLES.items()
            },
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ReportError(f"{server} answers topk with something else than samples") from None


def _row(found: Mapping[str, Any], texts: Sequence[str]) -> Row:
    row: Row = {}
    for name in texts:
        text = found[name]
        if not isinstance(text, str):
            raise TypeError(name)
        # Lone surrogates cannot be written as UTF-8.
        row[name] = text[:_MOST_CHARACTERS].encode("utf-8", "replace").decode()
    return row | {name: _number(found[name]) for name in FIGURES}


def _number(found: Any) -> float:
    """Return a number of JSON; raises TypeError or ValueError for anything else."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError("not a number")
    if not 0 <= found < _MOST_NUMBER:
        raise ValueError("not a number of requests")
    return found
