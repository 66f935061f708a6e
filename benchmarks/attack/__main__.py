"""Run attacks on a zoolet server and print a table; the status is 1 if one of them failed.

Usage: python -m benchmarks.attack [--only NAME]... [--list] [--scale 0.1] [--settle-s 5] ...
"""

import importlib
import signal
import sys

import click
from rich.console import Console
from rich.table import Table

from benchmarks.attack.arena import ATTACKS, Attack, Options, Outcome, most_connections, run_attack
from benchmarks.attack.verdict import judge

_MODULES = ("reads", "writes", "identities", "sessions", "operators", "connections", "tls")
_COLUMNS = (
    *("attack", "conn.", "longest ms", "p99 ms", "session"),
    *("before MB", "peak MB", "after MB", "verdict"),
)


def _known() -> dict[str, Attack]:
    for module in _MODULES:
        importlib.import_module(f"benchmarks.attack.{module}")
    return ATTACKS


def _cells(outcome: Outcome) -> list[str]:
    figures = outcome.figures
    memory = figures.memory
    reasons = judge(figures)
    return [
        f"{figures.longest_ms:,.0f}",
        f"{figures.p99_ms:,.0f}",
        "lives" if figures.session_lives else "LOST",
        f"{memory.before_mb:,.0f}",
        f"{memory.peak_mb:,.0f}",
        f"{memory.after_mb:,.0f}",
        "; ".join(["FAILED", *reasons]) if reasons else "ok",
    ]


def _variants(attack: Attack, connections: int | None) -> list[int]:
    """Return over how many connections to run an attack."""
    if not attack.is_shared:
        return [1]
    return [1, most_connections()] if connections is None else [connections]


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Run this attack only. Repeatable.")
@click.option("--list", "lists", is_flag=True, help="Print the names of all attacks and stop.")
@click.option("--connections", type=int, help="Run over this many connections, not over 1 and 59.")
@click.option("--seed", default=1, show_default=True, help="Seed of everything random.")
@click.option("--scale", default=1.0, show_default=True, help="Multiplies all sizes.")
@click.option(
    "--settle-s", default=60.0, show_default=True, help="Seconds to release memory after an attack."
)
@click.option(
    "--limit-s", default=60.0, show_default=True, help="Seconds after which an attack stops."
)
@click.option(
    "--memory-mb", default=3000.0, show_default=True, help="Kill a server that needs more memory."
)
def main(
    only: tuple[str, ...],
    lists: bool,
    connections: int | None,
    seed: int,
    scale: float,
    settle_s: float,
    limit_s: float,
    memory_mb: float,
) -> None:
    """Attack a zoolet server and look at what its other clients notice."""
    known = _known()
    if lists:
        for attack in known.values():
            click.echo(f"{attack.name:24} {attack.what}")
        return
    if unknown := set(only) - set(known):
        raise click.UsageError(f"no such attack: {', '.join(sorted(unknown))}; see --list")
    # A signal must not leave a server behind.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    table = Table(*_COLUMNS, title="What a bystander notices of each attack")
    console = Console()
    failed = 0
    for attack in known.values():
        if only and attack.name not in only:
            continue
        for number in _variants(attack, connections):
            options = Options(number, scale, seed, settle_s, limit_s, memory_mb)
            outcome = run_attack(attack, options)
            cells = [attack.name, str(number), *_cells(outcome)]
            failed += cells[-1] != "ok"
            table.add_row(*cells)
            notes = "; ".join((f"{outcome.seconds:.1f} s", *outcome.notes))
            click.echo(" | ".join(cells) + f" | {notes}")
    console.print(table)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
