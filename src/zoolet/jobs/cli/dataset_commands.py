"""The commands ``zoolet jobs dataset``: describe, list, show, refresh and remove datasets.

This module imports click, `zoolet.console` and other packages of `zoolet.jobs`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import click

from zoolet.console.terminal import one_line
from zoolet.jobs.cli.options import Target, command_on_queue
from zoolet.jobs.datasets.datasets import Dataset, Datasets
from zoolet.jobs.dispatcher.dispatcher import Dispatcher
from zoolet.jobs.loaders.registry import LOADERS, loader_info
from zoolet.jobs.records.datasets import DatasetRecord


@click.group("dataset")
def dataset() -> None:
    """Describe the data of tasks once, so that workers load it without a --loader."""


def _command(
    *options: Callable[..., Any], name: str | None = None
) -> Callable[[Callable[..., None]], None]:
    """Make a function a command on datasets; see `command_on_queue`."""

    def decorate(function: Callable[..., None]) -> None:
        dataset.add_command(command_on_queue(function, options, name=name or function.__name__))

    return decorate


_name = click.argument("name")


def _options(_: click.Context, __: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE")
        found[key] = value
    return found


@_command(
    _name,
    click.argument("location"),
    click.option(
        "--loader",
        required=True,
        help=f"What reads the data: {', '.join(LOADERS)}, or a function that returns a loader,"
        " module:function.",
    ),
    click.option(
        "--option",
        "options",
        multiple=True,
        callback=_options,
        metavar="NAME=VALUE",
        help="An option of the loader, for example bytes_per_group=1000000; can be repeated.",
    ),
)
def add(
    dispatcher: Dispatcher,
    target: Target,
    name: str,
    location: str,
    loader: str,
    options: dict[str, str],
) -> None:
    """Describe a dataset: list its groups, and store the list in the queue.

    LOCATION is a file, a directory or a glob pattern; for the loader sql, a URL for SQLAlchemy.
    """
    found = dispatcher.datasets.create(name, loader, location, _typed(loader, options))
    _print(target, found)


def _typed(loader: str, options: dict[str, str]) -> dict[str, Any]:
    """Return the options as values of their types; invalid numbers stay texts and are refused."""
    known = loader_info(loader).options
    return {
        key: int(value)
        if key in known and isinstance(known[key].default, int) and value.isdecimal()
        else value
        for key, value in options.items()
    }


@_command(name="list")
def list_datasets(dispatcher: Dispatcher, target: Target) -> None:
    """List the datasets that the queue describes."""
    for record in dispatcher.datasets.records():
        target.printer.answer(asdict(record), _line(record))


@_command(_name)
def show(dispatcher: Dispatcher, target: Target, name: str) -> None:
    """Show a dataset and its groups, with their rows, bytes and versions."""
    found = dispatcher.datasets.describe(name)
    value = asdict(found.record) | {"list": [group._asdict() for group in found.groups]}
    lines = [
        f"{one_line(group.groupid)}\t{_count(group.rows)} rows\t{_count(group.size_bytes)} bytes"
        f"\t{one_line(group.version)}"
        for group in found.groups
    ]
    target.printer.answer(value, _line(found.record), *lines)


@_command(
    _name,
    click.option(
        "--loaders",
        multiple=True,
        help="Pattern of loaders, like shop.data:*, that this command may import because the"
        " description names them. May be repeated.",
    ),
)
def refresh(dispatcher: Dispatcher, target: Target, name: str, loaders: tuple[str, ...]) -> None:
    """List the groups of a dataset again: changed files get new versions."""
    _print(target, Datasets(dispatcher.queue, loaders).refresh(name))


@_command(_name)
def remove(dispatcher: Dispatcher, target: Target, name: str) -> None:
    """Remove the description of a dataset; its data and its jobs stay."""
    dispatcher.datasets.remove(name)
    target.printer.answer({"removed": name}, f"removed: {one_line(name)}")


def _print(target: Target, found: Dataset) -> None:
    target.printer.answer(asdict(found.record), _line(found.record))


def _line(record: DatasetRecord) -> str:
    return (
        f"{record.name}\t{record.loader}\t{one_line(record.location)}\t{record.groups} groups"
        f"\t{_count(record.rows)} rows\t{_count(record.size_bytes)} bytes"
    )


def _count(count: int | None) -> str:
    return "?" if count is None else str(count)
