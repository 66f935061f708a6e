"""The state of a mirror as a line, and as figures for Prometheus."""

import asyncio
import contextlib
import io

from rich.console import Console

from zoolet.archive.mirror.metrics import figures_of
from zoolet.archive.mirror.progress import show, text_of
from zoolet.archive.mirror.records.figures import Figures, Report


def report(
    figures: Figures, lag_ms: float = 0.0, *, source: bool = True, target: bool = True
) -> Report:
    return Report(figures, 3, lag_ms, source, target)


def test_a_line_has_the_counts_and_the_lag() -> None:
    figures = Figures(copied=5, deleted=2, copied_lag_ms=12.4)
    assert text_of(report(figures)) == "copied 5, deleted 2, waiting 3, lag 12 ms"
    assert text_of(report(figures, 900.2)).endswith("lag 900 ms")


def test_a_line_says_what_is_wrong() -> None:
    figures = Figures(overwritten=1, is_comparing=True, compared=7)
    assert text_of(report(figures, source=False, target=False)) == (
        "copied 0, deleted 0, overwritten 1, no connection to the source, no connection to the"
        " target, comparing (7 znodes), waiting 3, lag 0 ms"
    )


def test_the_figures_have_different_names_and_the_lag_in_seconds() -> None:
    found = list(figures_of(report(Figures(unreached={"/a": 9}), 1500.0)))
    values = {figure.name: figure.value for figure in found}
    assert len(values) == len(found)
    assert values["zoolet_mirror_lag_seconds"] == 1.5
    assert values["zoolet_mirror_waiting"] == 3
    assert values["zoolet_mirror_unreached_counters"] == 1


def test_a_terminal_shows_one_line_that_changes() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=200)

    async def scenario() -> None:
        asked = asyncio.Event()

        def ask() -> Report:
            asked.set()
            return report(Figures(copied=5))

        showing = asyncio.ensure_future(show(ask, console, print))
        await asked.wait()
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await showing

    asyncio.run(scenario())
    assert "copied 5" in output.getvalue()
