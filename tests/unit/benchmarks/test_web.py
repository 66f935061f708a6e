"""The figures of the benchmark of the web page: updates that a page showed late, or never."""

import pytest
from rich.console import Console

from benchmarks.web import WANTED, show
from benchmarks.web_parts.updates import number_in, p99

WRITTEN = [(1, 10.0), (2, 10.1), (3, 10.2)]


def test_a_later_number_shows_that_a_page_is_up_to_date() -> None:
    assert p99(WRITTEN, [[(3, 10.3)]] * 100) == pytest.approx(0.3)
    assert p99(WRITTEN, [[(1, 10.0), (2, 10.1), (3, 10.2)]] * 100) == pytest.approx(0.0)


def test_one_slow_page_of_a_hundred_counts() -> None:
    fast, slow = [(3, 10.2)], [(3, 19.2)]
    assert p99(WRITTEN, [*([fast] * 97), *([slow] * 3)]) > 8


def test_a_page_that_misses_a_write_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="did not show write 3 of 3"):
        p99(WRITTEN, [[(2, 10.2)]])


def test_the_number_is_the_one_in_the_data() -> None:
    html = '<p><span>2 bytes</span></p><pre class="data"><bdi>42</bdi></pre>'
    assert number_in(html) == 42


def test_the_table_has_what_is_wanted() -> None:
    console = Console(width=100, record=True)
    show({name: [1.0, 3.0, 2.0] for name in WANTED}, console)
    text = console.export_text()
    assert all(f"≤ {most:g}" in text for most in WANTED.values())
    assert text.count("2.00") == text.count("3.00") == len(WANTED)
