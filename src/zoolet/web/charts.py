"""Line charts of time series, as SVG that the page's process makes. No I/O, no clock.

How to use it: make a `Chart`, give the template `chart.markup()` and JSON `chart.value()`. The
template loads ``charts.css`` in its block ``scripts``, and shows the markup with ``{{ ... }}``.
A chart has the same height whatever its values are, so `refresh.js` can replace it without a
layout shift. Its table has the figures as text, for screen readers and without colours.

Invariants: all texts are escaped. A missing value makes a gap, never a line. The size of the markup
depends on the number of series, not on the number of points.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from markupsafe import Markup

MOST_SERIES: Final = 12
"""Most lines of a chart; a chart with more series says how many it leaves out."""

_COLUMNS: Final = 240
_WIDTH: Final = 1000.0
_HEIGHT: Final = 100.0
_DAY_S: Final = 86_400
_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_BYTES: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


class Series(NamedTuple):
    """A time series.

    Attributes:
        name: its name.
        points: times in seconds since the epoch, ascending, each with a value from 0; None, NaN and
            infinite values mean that there is no sample.
    """

    name: str
    points: Sequence[tuple[float, float | None]]


class Figures(NamedTuple):
    """The newest, the least, the average and the greatest value of a series; None without one."""

    now: float | None
    least: float | None
    average: float | None
    most: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of one or more time series.

    Attributes:
        title: what the values are, like "Latency of requests".
        unit: the unit of the values, like "ms" or "requests a second"; "bytes" are shown as KiB,
            MiB...
        series: the series; the first `MOST_SERIES` are drawn.
        end_s: the time at the right end, in seconds since the epoch.
        span_s: the time from the left end to the right end, in seconds.
        gap_s: points that are farther apart have no line between them, in seconds.
    """

    title: str
    unit: str
    series: Sequence[Series]
    end_s: float
    span_s: float = 3600.0
    gap_s: float = 30.0

    def value(self) -> dict[str, Any]:
        """Return the chart for JSON: title, unit, and the times and values of each series."""
        series = [
            {"name": each.name, "points": [[at, known(value)] for at, value in each.points]}
            for each in self.series
        ]
        return {"title": self.title, "unit": self.unit, "series": series}

    def markup(self) -> Markup:
        """Return the chart as HTML with SVG."""
        shown = [self._inside(each) for each in self.series[:MOST_SERIES]]
        figures = [self._figures(each) for each in shown]
        top = nice_top(max((each.most or 0.0 for each in figures), default=0.0))
        lines = Markup("").join(
            Markup('<path class="line line-{}" d="{}"/>').format(number, self._path(each, top))
            for number, each in enumerate(shown)
        )
        levels = Markup("").join(
            Markup("<span>{}</span>").format(number_text(level, self.unit, top))
            for level in (top, top / 2, 0.0)
        )
        times = Markup("").join(
            Markup("<span>{}</span>").format(self._time(self.end_s - part * self.span_s))
            for part in (1.0, 0.5, 0.0)
        )
        left_out = len(self.series) - len(shown)
        return _CHART.format(
            title=self.title,
            unit=self.unit,
            label=self._label(shown, figures),
            lines=lines,
            levels=levels,
            times=times,
            rows=Markup("").join(map(self._row, range(len(shown)), shown, figures)),
            more=f"{left_out:,} more are not shown." if left_out else "",
        )

    def _inside(self, series: Series) -> Series:
        start_s = self.end_s - self.span_s
        return series._replace(
            points=[
                (at, known(value)) for at, value in series.points if start_s <= at <= self.end_s
            ]
        )

    def _figures(self, series: Series) -> Figures:
        """Return the figures of a series; there is no newest value if the last one is old."""
        values = [value for _, value in series.points if value is not None]
        if not values:
            return Figures(None, None, None, None)
        at, now = series.points[-1]
        is_old = self.end_s - at > self.gap_s
        average = math.fsum(values) / len(values)
        return Figures(None if is_old else now, min(values), average, max(values))

    def _label(self, shown: Sequence[Series], figures: Sequence[Figures]) -> str:
        parts = [
            f"{series.name}: now {self._text(found.now)}, at most {self._text(found.most)}"
            for series, found in zip(shown, figures, strict=True)
        ]
        minutes = round(self.span_s / 60)
        return f"{self.title}, the last {minutes:,} minutes. {'; '.join(parts) or 'No values'}."

    def _row(self, number: int, series: Series, figures: Figures) -> Markup:
        cells = Markup("").join(Markup("<td>{}</td>").format(self._text(each)) for each in figures)
        return _ROW.format(number=number, name=series.name, cells=cells)

    def _text(self, value: float | None) -> str:
        return "-" if value is None else number_text(value, self.unit, value)

    def _time(self, time_s: float) -> str:
        try:
            found = datetime.fromtimestamp(time_s, UTC)
        except (ValueError, OverflowError, OSError):
            return ""
        return f"{found:%m-%d %H:%M}" if self.span_s > _DAY_S else f"{found:%H:%M}"

    def _path(self, series: Series, top: float) -> str:
        """Return the line: the least and the greatest value of each column, with gaps."""
        parts: list[str] = []
        last_s = -math.inf
        for at, value in self._thinned(series.points):
            if value is None:
                last_s = -math.inf
                continue
            x = _WIDTH * (1 - (self.end_s - at) / self.span_s)
            y = _HEIGHT * (1 - value / top)
            is_joined = at - last_s <= max(self.gap_s, self.span_s / _COLUMNS * 1.5)
            # A line of no length is a dot: a sample alone is visible too.
            parts.append(f"{'L' if is_joined else 'M'}{x:.1f} {y:.1f}{'' if is_joined else 'h0'}")
            last_s = at
        return "".join(parts)

    def _thinned(
        self, points: Sequence[tuple[float, float | None]]
    ) -> Iterator[tuple[float, float | None]]:
        """Yield up to three points for each column of the chart."""
        if len(points) <= 2 * _COLUMNS:
            yield from points
            return
        width_s = self.span_s / _COLUMNS
        column: list[tuple[float, float | None]] = []
        for point in points:
            if column and point[0] // width_s != column[0][0] // width_s:
                yield from _extremes(column)
                column = []
            column.append(point)
        yield from _extremes(column)


def known(value: float | None) -> float | None:
    """Return a value that can be drawn; None for NaN and infinity, 0 for a negative value."""
    return max(value, 0.0) if value is not None and math.isfinite(value) else None


def nice_top(most: float) -> float:
    """Return a round number that is at least ``most`` and more than 0."""
    if most <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(most)) if most < 1e300 else 1e300
    return next((size * step for step in _NICE if size * step >= most), most)


def number_text(value: float, unit: str, scale: float) -> str:
    """Return a value as text, as exact as a value of the size ``scale`` needs."""
    if unit == "bytes":
        power = min(len(_BYTES) - 1, int(math.log2(max(scale, 1.0)) // 10))
        return f"{value / 1024**power:.{1 if power else 0}f} {_BYTES[power]}"
    digits = 0 if scale >= 100 or value == int(value) else 1 if scale >= 10 else 2
    return f"{value:,.{digits}f}" if scale < 1e15 else f"{value:.2e}"


def _extremes(
    column: list[tuple[float, float | None]],
) -> Iterator[tuple[float, float | None]]:
    """Yield the least and the greatest value in their order, and a gap if there is one."""
    values = [(value, at) for at, value in column if value is not None]
    if values:
        yield from sorted({(at, value) for value, at in (min(values), max(values))})
    if len(values) < len(column):
        yield column[-1][0], None


_CHART: Final = Markup(
    '<figure class="chart"><figcaption>{title} <span class="note">{unit}; times in UTC</span>'
    '</figcaption><div class="plot"><div class="levels" aria-hidden="true">{levels}</div>'
    '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{label}">'
    '<path class="grid" d="M0 0H1000M0 50H1000M0 100H1000M500 0V100"/>{lines}</svg>'
    '<div class="times" aria-hidden="true">{times}</div></div>'
    '<table><thead><tr><td></td><th scope="col">now</th><th scope="col">least</th>'
    '<th scope="col">average</th><th scope="col">most</th></tr></thead><tbody>{rows}</tbody>'
    '</table><p class="note">{more}</p></figure>'
)
_ROW: Final = Markup(
    '<tr><th scope="row"><svg class="key" viewBox="0 0 24 8" aria-hidden="true">'
    '<path class="line line-{number}" d="M0 4H24"/></svg><bdi>{name}</bdi></th>{cells}</tr>'
)
