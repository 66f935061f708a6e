"""The tables of zoolet top: numbers for people, hostile names, terminals of any size."""

import io

import pytest
from rich.console import Console

from zoolet.top.reports import COUNTED_FIGURES, FIGURES, TABLES, Kind, Report
from zoolet.top.showing import heading, plain, render

HOSTILE = "/\x1b[31mred\x07\u202e[bold]x[/bold]\n\x9b"


def sampled(rows: int = 3, name: str = "/a", gap: int = 1) -> Report:
    figures = dict(zip(FIGURES, (1234.5, 12.34, 0.5, 100_000, 42), strict=True))
    return Report(
        "h:1",
        Kind.SAMPLES,
        covered_s=60,
        gap=gap,
        total=figures,
        tables={
            table: [dict.fromkeys(texts, name) | figures for _ in range(rows)]
            for table, texts in TABLES.items()
        },
    )


def drawn(reports: list[Report], width: int, height: int, rows: int = 10) -> list[str]:
    """Return the lines on a terminal of this size."""
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    with console.capture() as capture:
        console.print(render(reports, rows, width, height))
    return capture.get().splitlines()


def test_plain_text_has_all_tables() -> None:
    lines = plain([sampled(2)], 10)
    assert lines[0] == (
        "h:1   1,234 requests/s in the last 60 s (± 12.3; 42 samples, now all requests)"
    )
    heads = [line.split() for line in lines if line.startswith("requests/s")]
    assert [head[-1] for head in heads] == ["address", "path", "operation", "parent", "address"]
    assert "     1,234  12.3      0.50  100,000       42  /a" in lines
    assert len(lines) == 1 + 5 * 4
    assert len(plain([sampled(50)], 7)) == 1 + 5 * 9


def test_a_heading_says_what_was_looked_at() -> None:
    assert "now 1 of 8,500 requests" in heading(sampled(gap=8500))
    rows = [dict.fromkeys(("session", "address", "last_operation"), "x") | {"requests_per_s": 2.0}]
    counters = Report(
        "h:2",
        Kind.COUNTERS,
        "the note",
        covered_s=2.0,
        total=dict.fromkeys(COUNTED_FIGURES, 2.0),
        tables={"clients": rows},
    )
    assert plain([counters], 5) == [
        "h:2   2 requests/s in the last 2 s, with pings",
        "the note",
        "",
        "requests/s  session  address  last",
        "         2  x        x        x",
    ]
    assert plain([Report("h:3", note="down"), counters], 5)[:3] == ["h:3", "down", ""]


def test_hostile_names_cannot_control_the_terminal() -> None:
    report = Report("h:1", note=HOSTILE)
    for lines in (
        plain([sampled(name=HOSTILE), report], 5),
        drawn([sampled(name=HOSTILE)], 120, 50),
    ):
        text = "\n".join(lines)
        assert "\\x1b[31mred\\x07\\u202e[bold]x[/bold]\\n\\x9b" in text
        assert all(line.isprintable() or "\x1b[" not in line for line in lines)
        assert "\x1b[31m" not in text
        assert "\u202e" not in text


@pytest.mark.parametrize("width", [1, 10, 40, 80, 300])
@pytest.mark.parametrize("height", [1, 5, 24, 100])
def test_a_terminal_of_any_size_shows_the_busiest_client(width: int, height: int) -> None:
    lines = drawn([sampled(50)], width, height)
    assert any("1" in line for line in lines)
    assert all(len(line) <= width for line in lines)
    if width >= 40 and height >= 5:
        assert len(lines) <= height
        assert any("1,234" in line for line in lines)


def test_a_small_terminal_has_fewer_tables_and_columns() -> None:
    small = "\n".join(drawn([sampled(50)], 50, 24))
    assert "writes/s" not in small
    assert "operation" in small
    assert "parent" not in small
    large = "\n".join(drawn([sampled(50)], 100, 60))
    assert "writes/s" in large
    assert "parent" in large


def test_several_servers_share_the_height() -> None:
    lines = drawn([sampled(50), sampled(50), Report("h:3", note="down")], 100, 40)
    assert len(lines) <= 40
    assert sum(line.startswith("h:") for line in lines) == 3
