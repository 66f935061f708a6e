"""The rows of ``make bench-client``: what is measured, against what, and which ratio is wanted.

This module only computes; `client_bench` measures.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table

from benchmarks.verdict import Verdict

INTERPRETED, COMPILED = "interpreted", "compiled"
CLIENTS = (INTERPRETED, COMPILED)
LOAD = "load.c"


class Measured(NamedTuple):
    """A system, and the scenario in which it is measured."""

    system: str
    scenario: str


Figures = Mapping[Measured, Sequence[float]]
"""The figures of each round. A system that is not installed is missing."""


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        name: the calls that are measured.
        unit: of the figures.
        scenario: of zoolet's client.
        target: the wanted ratio of zoolet's figure to that of ``bases``.
        at_most: whether the ratio may be at most the target, not at least; less is then better.
        bases: what zoolet is compared with; if there are several, with the best one in each round.
        others: what is only shown, with its own ratio to ``bases``.
        load: the work of the load generator in C, whose figure is shown; "" for none.
    """

    name: str
    unit: str
    scenario: str
    target: float
    at_most: bool
    bases: tuple[Measured, ...]
    others: tuple[Measured, ...] = ()
    load: str = ""

    @property
    def measured(self) -> tuple[Measured, ...]:
        """Everything that the row needs."""
        ours = tuple(Measured(client, self.scenario) for client in CLIENTS)
        load = (Measured(LOAD, self.load),) if self.load else ()
        return (*ours, *self.bases, *self.others, *load)


ONE_CORE = frozenset(
    {"get", "get-decoded", "get-threads", "get-async", "get-async-decoded", "multi"}
)
"""Scenarios in which the client and the server share one core.

One of them always waits for the other. On two cores, a virtual machine may take 70 µs more for each
call to wake the other core. That hides what the client costs, but only in some of the runs.
"""

ROWS = (
    Row(
        *("get, `Client`", "µs p50", "get", 1.6, True),
        (Measured("socket", "get"),),
        (Measured("socket", "get-decoded"), Measured("kazoo", "get")),
    ),
    Row(
        *("get, `Client`, 4 threads", "µs a call", "get-threads", 1.6, True),
        *((Measured("socket", "get-threads"),), (Measured("kazoo", "get-threads"),)),
    ),
    Row(
        *("get, `AsyncClient`, deadline", "µs p50", "get-async", 1.35, True),
        (Measured("stream", "get-async"),),
        (Measured("stream", "get-async-decoded"), Measured("aiozk", "get-async")),
    ),
    Row(
        *("1,000 gets, futures", "per s", "gets", 20.0, False),
        *((Measured("kazoo", "gets"),), (), "get"),
    ),
    Row(
        *("1,000 gets, tasks", "per s", "gets-tasks", 12.0, False),
        *((Measured("aiozk", "gets-tasks"), Measured("kazoo", "gets")), (), "get"),
    ),
    Row(
        *("1,000 durable sets, futures", "per s", "sets", 10.0, False),
        *((Measured("kazoo", "sets"),), (), "set"),
    ),
    Row(
        *("multi of 50 creates", "per s", "multi", 0.8, False),
        *((Measured("socket", "multi"),), (Measured("kazoo", "multi"),)),
    ),
    Row("import", "ms", "import", 0.6, True, (Measured("kazoo", "import"),)),
    Row("memory, idle", "MB", "idle", 0.6, True, (Measured("kazoo", "idle"),)),
)


class Result(NamedTuple):
    """A row as one kind of client reached it.

    Attributes:
        figure: the median of zoolet's figures.
        ratio: the median and the interval of the ratios of the rounds.
        is_reached: whether the median reaches the target.
    """

    figure: float
    ratio: Verdict
    is_reached: bool


def judge(row: Row, client: str, figures: Figures) -> Result:
    """Compare one kind of client with the bases of a row."""
    ours = figures[Measured(client, row.scenario)]
    ratios = [us / base for us, base in zip(ours, best(row, figures), strict=True)]
    verdict = Verdict.of(ratios)
    is_reached = verdict.median <= row.target if row.at_most else verdict.median >= row.target
    return Result(median(ours), verdict, is_reached)


def best(row: Row, figures: Figures) -> list[float]:
    """Return the figure of the best base in each round."""
    installed = [figures[base] for base in row.bases if base in figures]
    return [(min if row.at_most else max)(each) for each in zip(*installed, strict=True)]


def median(values: Sequence[float]) -> float:
    """Return the median of figures or ratios."""
    return Verdict.of(list(values)).median


def show(rows: Sequence[Row], figures: Figures) -> Table:
    """Return the table, in a form that Markdown accepts too."""
    table = Table(
        *("", "client", "unit", "zoolet", "compared with", "ratio", "of the rounds", "target"),
        *("verdict", "others", "of load.c"),
        box=box.MARKDOWN,
    )
    for row in rows:
        for client in CLIENTS:
            result = judge(row, client, figures)
            table.add_row(
                row.name,
                client,
                row.unit,
                _text(result.figure),
                "; ".join(
                    f"{base.system} {_text(median(figures[base]))}"
                    for base in row.bases
                    if base in figures
                ),
                f"{result.ratio.median:.2f}",
                f"{result.ratio.low:.2f} to {result.ratio.high:.2f}",
                f"{'≤' if row.at_most else '≥'} {row.target:g}",
                "reached" if result.is_reached else "missed",
                "; ".join(_other(row, other, figures) for other in row.others if other in figures),
                _of_load(row, client, figures),
            )
    return table


def _other(row: Row, other: Measured, figures: Figures) -> str:
    theirs = figures[other]
    ratios = [them / base for them, base in zip(theirs, best(row, figures), strict=True)]
    name = f"{other.system} {'decoded ' if other.scenario.endswith('-decoded') else ''}"
    return f"{name.rstrip()} {_text(median(theirs))}, ratio {median(ratios):.2f}"


def _of_load(row: Row, client: str, figures: Figures) -> str:
    if not row.load:
        return ""
    load = figures[Measured(LOAD, row.load)]
    ours = figures[Measured(client, row.scenario)]
    ratio = median([us / them for us, them in zip(ours, load, strict=True)])
    return f"{ratio:.2f} of {_text(median(load))}"


def _text(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:,.1f}"
