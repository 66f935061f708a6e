"""A moment as an option gives it: a time, or a span from now."""

from datetime import datetime

import click
import pytest

from zoolet.jobs.cli.options import FromNow, moment

CONTEXT = click.Context(click.Command("submit"))
OPTION = click.Option(["--not-before"])


@pytest.mark.parametrize(
    ("text", "span_ms"),
    [("+5ms", 5), ("+30s", 30_000), ("+2m", 120_000), ("+1h", 3_600_000), ("+1d", 86_400_000)],
)
def test_a_span_is_from_now_by_the_servers_clock(text: str, span_ms: int) -> None:
    found = moment(CONTEXT, OPTION, text)
    assert isinstance(found, FromNow)
    assert found == span_ms


def test_a_time_is_of_this_zone_unless_it_names_one() -> None:
    here = datetime(2026, 1, 31, 8).astimezone()
    assert moment(CONTEXT, OPTION, "2026-01-31T08:00") == int(here.timestamp() * 1000)
    assert moment(CONTEXT, OPTION, "1970-01-01T00:00:01+00:00") == 1000
    assert moment(CONTEXT, OPTION, None) is None


@pytest.mark.parametrize(
    "text", ["soon", "+5", "5s", "+5 s", "2026-13-01", "0001-01-01T00:00+23:59"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="nor a duration like"):
        moment(CONTEXT, OPTION, text)
