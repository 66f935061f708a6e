"""Charts: the scale, gaps, many points, hostile names; and random series against their limits."""

import math
import random
import re
from xml.etree import ElementTree as ET

import pytest

from zoolet.web.charts import MOST_SERIES, Chart, Series, nice_top, number_text

NOW_S = 1_700_000_000.0


def chart(*series: Series, **more: float) -> Chart:
    return Chart("Requests", "requests a second", series, NOW_S, **more)


def drawn(made: Chart) -> list[str]:
    """Return the path of each line."""
    return re.findall(r'<path class="line line-\d+" d="([^"]*)"/>', str(made.markup()))[
        : len(made.series)
    ]


def test_a_line_has_its_values_and_its_scale() -> None:
    made = chart(Series("a", [(NOW_S - 3600, 0), (NOW_S - 3590, 40), (NOW_S, 100)]), gap_s=4000)
    assert drawn(made) == ["M0.0 100.0h0L2.8 60.0L1000.0 0.0"]
    page = str(made.markup())
    assert "<span>100</span><span>50</span><span>0</span>" in page
    assert "<span>21:13</span><span>21:43</span><span>22:13</span>" in page
    assert "a: now 100, at most 100" in page
    assert "<td>100</td><td>0</td><td>46.7</td><td>100</td>" in page


def test_a_missing_value_and_a_long_pause_make_a_gap() -> None:
    made = chart(Series("a", [(NOW_S - 50, 1), (NOW_S - 40, None), (NOW_S - 30, 1), (NOW_S, 1)]))
    assert drawn(made)[0].count("M") == 2
    made = chart(Series("a", [(NOW_S - 100, 1), (NOW_S - 60, 1)]))
    assert drawn(made)[0].count("M") == 2
    assert "a: now -, at most 1" in str(made.markup())


def test_a_chart_without_values() -> None:
    assert drawn(chart(Series("a", []))) == [""]
    assert "No values" in str(chart().markup())
    assert chart().value() == {"title": "Requests", "unit": "requests a second", "series": []}


def test_names_are_only_text() -> None:
    name = '<script>"\u202e&'
    page = str(chart(Series(name, [(NOW_S, 1)])).markup())
    assert "<script" not in page
    assert '"\u202e' not in page
    assert "style=" not in page


def test_more_series_than_a_chart_has_lines() -> None:
    made = chart(*(Series(f"s{number}", [(NOW_S, 1)]) for number in range(MOST_SERIES + 3)))
    assert "3 more are not shown." in str(made.markup())
    assert str(made.markup()).count('class="line ') == 2 * MOST_SERIES  # the lines and their keys


@pytest.mark.parametrize(
    ("value", "unit", "scale", "text"),
    [
        (0, "ms", 100, "0"),
        (1234.5, "", 1234.5, "1,234"),
        (12.25, "", 12.25, "12.2"),
        (1536, "bytes", 1536, "1.5 KiB"),
        (0, "bytes", 5 << 30, "0.0 GiB"),
        (100, "bytes", 100, "100 bytes"),
        (1e20, "", 1e20, "1.00e+20"),
    ],
)
def test_numbers(value: float, unit: str, scale: float, text: str) -> None:
    assert number_text(value, unit, scale) == text


@pytest.mark.parametrize("seed", range(20))
def test_random_series_stay_in_their_chart(seed: int) -> None:
    """Whatever the values are: well-formed, bounded, inside the chart, and no maximum is lost."""
    rng = random.Random(seed)
    odd = [None, math.nan, math.inf, -1.0, 0.0, 1e-9, 1e300]
    count = rng.choice([0, 1, 10, 1000, 20_000])
    times = sorted(NOW_S - rng.uniform(-10, 5000) for _ in range(count))
    scale = rng.choice([1e-6, 1.0, 1e9])
    points = [
        (at, rng.choice(odd[:-1]) if rng.random() < 0.1 else rng.random() * scale) for at in times
    ]
    made = chart(Series("a", points), gap_s=rng.choice([1.0, 100.0]))
    page = str(made.markup())
    ET.fromstring(page)
    assert len(page) < 30_000
    assert len(made.value()["series"][0]["points"]) == count
    places = re.findall(r"[ML]([\d.e+-]+) ([\d.e+-]+)", drawn(made)[0])
    assert all(0 <= float(x) <= 1000 and 0 <= float(y) <= 100 for x, y in places)
    inside = [
        value
        for at, value in points
        if NOW_S - 3600 <= at <= NOW_S and value is not None and math.isfinite(value)
    ]
    if inside and max(inside) > 0:
        highest = 100 * (1 - max(inside) / nice_top(max(inside)))
        assert min(float(y) for _, y in places) == pytest.approx(highest, abs=0.06)
