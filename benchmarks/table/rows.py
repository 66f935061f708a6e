"""The rows of the table: what each compares, which ratio is wanted, and the verdict.

This module only computes.
"""

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from rich import box
from rich.table import Table

OURS: Final = "zoolet"


class Target(NamedTuple):
    """A wanted value, and how the value of a row must relate to it: ≥, ≤ or <."""

    sign: str
    value: float

    def is_reached(self, value: float) -> bool:
        """Return whether this value reaches the target."""
        return _HOLDS[self.sign](value, self.value)

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"


_HOLDS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "≥": operator.ge,
    "≤": operator.le,
    "<": operator.lt,
}


def at_least(value: float) -> Target:
    """Return a target of which more is better."""
    return Target("≥", value)


def at_most(value: float) -> Target:
    """Return a target of which less is better."""
    return Target("≤", value)


def below(value: float) -> Target:
    """Return a target that the value must not even equal."""
    return Target("<", value)


Figures = dict[str, float]
"""What one server reached in one round, by name."""

Found = dict[str, dict[str, list[Figures]]]
"""By measurement and side, the figures of each round."""

_LATENCIES: Final = ("p50_us", "p99_us")


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        name: with which the row is chosen.
        title: what is measured.
        unit: of the figures.
        measurement: the name of the measurement that has the figures.
        figure: the name of the figure.
        base: the side that zoolet is compared with; "" if the figure itself is the value.
        target: the wanted value; None: the row is only shown.
        base_factor: by how much the base is multiplied before the division.
    """

    name: str
    title: str
    unit: str
    measurement: str
    figure: str
    base: str
    target: Target | None = None
    base_factor: float = 1.0


class Result(NamedTuple):
    """The values of the rounds: the median, the least, the most, and whether the target is reached.

    Attributes:
        is_reached: whether the median reaches the target; None if the row has none.
    """

    median: float
    least: float
    most: float
    is_reached: bool | None

    @property
    def verdict(self) -> str:
        """The verdict in one word; "" without a target."""
        return {None: "", True: "reached", False: "missed"}[self.is_reached]


def judge(row: Row, found: Found) -> Result:
    """Compute the value of each round, and judge their median.

    Raises:
        ValueError: the sides have figures of different numbers of rounds, or of none.
    """
    sides = found[row.measurement]
    values = [figures[row.figure] for figures in sides[OURS]]
    if row.base:
        bases = [figures[row.figure] * row.base_factor for figures in sides[row.base]]
        values = [ours / base for ours, base in zip(values, bases, strict=True)]
    if not values:
        raise ValueError(f"{row.name} has no figures: measure at least one round")
    median = statistics.median(values)
    is_reached = None if row.target is None else row.target.is_reached(median)
    return Result(median, min(values), max(values), is_reached)


def show(rows: Sequence[Row], found: Found) -> tuple[Table, list[str]]:
    """Return the table, in a form that Markdown accepts too, and the rows that are missed."""
    table = Table(
        *("", "row", "unit", "compared with", "its median", "zoolet", "value", "min", "max"),
        *("target", "verdict", "p50 µs", "p99 µs"),
        box=box.MARKDOWN,
    )
    missed: list[str] = []
    for row in rows:
        result = judge(row, found)
        sides = found[row.measurement]
        if result.is_reached is False:
            missed.append(row.name)
        table.add_row(
            row.name,
            row.title,
            row.unit,
            row.base,
            _text(_median(sides[row.base], row.figure)) if row.base else "",
            _text(_median(sides[OURS], row.figure)),
            *(_text(value) for value in result[:3]),
            "" if row.target is None else str(row.target),
            result.verdict,
            *(_latencies(sides, row, key) for key in _LATENCIES),
        )
    return table, missed


def _latencies(sides: Mapping[str, list[Figures]], row: Row, key: str) -> str:
    """Return the latencies of the base and of zoolet, where there are some."""
    names = [name for name in (row.base, OURS) if name]
    if not all(key in figures for name in names for figures in sides[name]):
        return ""
    return " / ".join(_text(_median(sides[name], key)) for name in names)


def _median(rounds: list[Figures], key: str) -> float:
    return statistics.median(figures[key] for figures in rounds)


def _text(figure: float) -> str:
    if abs(figure) >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:,.1f}" if abs(figure) >= 100 else f"{figure:.2f}"
