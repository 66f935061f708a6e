"""``zoolet top``: the busiest clients, paths and operations, shown again and again.

This module imports click and rich.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.live import Live

from zoolet.client.command_options import tls_options
from zoolet.client.connecting.options import DEFAULT_HOSTS
from zoolet.client.connecting.servers import parse_servers
from zoolet.client.connecting.settings import SERVER_VARIABLE, SettingsError, tls_files
from zoolet.console.printing import Printer
from zoolet.console.reporting import fail, reporting
from zoolet.console.terminal import printable
from zoolet.model.addresses import AddressError
from zoolet.top.reports import Kind, Report
from zoolet.top.showing import plain, render
from zoolet.top.sources import Source

_COUNTING_S: Final = 1.0
"""The time between the two looks that a server without samples needs."""

_MOST_SERVERS: Final = 20


@click.command()
@click.option(
    "--server",
    "hosts",
    metavar="HOST:PORT[,HOST:PORT...]",
    default=DEFAULT_HOSTS,
    envvar=SERVER_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="Servers to ask. A server knows only the requests of its own clients.",
)
@click.option(
    "--every-s",
    type=click.FloatRange(1, 86_400),
    default=2.0,
    show_default=True,
    help="Time between two updates.",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Number of updates before the end.")
@click.option("--once", is_flag=True, help="The same as --rounds 1.")
@click.option(
    "--rows", type=click.IntRange(1, 50), default=10, show_default=True, help="Rows of each table."
)
@click.option("--json", "is_json", is_flag=True, help="Print each update as a line of JSON.")
@tls_options
@reporting()
def top(
    hosts: str,
    every_s: float,
    rounds: int | None,
    *,
    once: bool,
    rows: int,
    is_json: bool,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Show the busiest clients, paths and operations of the last minute.

    zoolet's server estimates them from samples of the requests. Of Apache ZooKeeper, the command
    shows the requests of each connection. Without a terminal, and with --json, it prints them one
    time, or --rounds times. The server must allow the four-letter word topk (Apache ZooKeeper:
    cons).
    """
    try:
        addresses = parse_servers(hosts).addresses
        tls = tls_files(tls_ca, tls_cert, tls_key)
    except (AddressError, SettingsError) as error:
        raise click.UsageError(printable(str(error))) from None
    if len(addresses) > _MOST_SERVERS:
        raise click.UsageError(f"--server: give at most {_MOST_SERVERS} servers")
    sources = [Source(address, tls) for address in addresses]
    printer = Printer(is_json=is_json)
    try:
        show(sources, printer, every_s, rounds=1 if once else rounds, rows=rows)
    except KeyboardInterrupt:
        click.echo()


def show(
    sources: Sequence[Source],
    printer: Printer,
    every_s: float,
    *,
    rounds: int | None,
    rows: int,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Show the reports ``rounds`` times; None: on a terminal without an end, otherwise one time.

    Exits with status 1 if no server gives numbers in the last round.
    """
    is_live = printer.has_terminal and not printer.is_json
    if rounds is None and not is_live:
        rounds = 1
    reports: list[Report] = []
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(len(sources), "zoolet-top"))

        def look() -> list[Report]:
            return list(threads.map(Source.look, sources))

        console = Console()
        live = None
        if is_live:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
        number = 0
        while rounds is None or number < rounds:
            if number:
                pause(every_s)
            reports = look()
            if rounds is not None and any(report.is_incomplete for report in reports):
                pause(_COUNTING_S)
                reports = look()
            number += 1
            if live is not None:
                width, height = console.size
                live.update(render(reports, rows, width, height - 1), refresh=True)
            else:
                value = {"servers": [report.as_json() for report in reports]}
                printer.answer(value, *plain(reports, rows))
    if all(report.kind is Kind.NOTHING for report in reports):
        fail("zoolet: no server gives numbers; the output says why")
