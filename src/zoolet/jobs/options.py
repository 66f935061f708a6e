"""What the commands on a queue have in common: their options, and how errors look.

Imports click, and the job system's dispatcher.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from zoolet.jobs.dispatcher import Dispatcher
from zoolet.jobs.errors import JobError
from zoolet.model import paths

_SPAN = re.compile(r"\+(\d+)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Let what a queue refuses, or a server, be the message of a command."""
    try:
        yield
    except (JobError, TimeoutError, ValueError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from error


def _queue_path(_: click.Context, __: click.Parameter, value: str) -> str:
    if (reason := paths.reason_invalid(value)) is not None:
        raise click.BadParameter(f"{value!r} is no path of a znode: {reason}")
    return value


def json_object(_: click.Context, __: click.Parameter, value: str) -> dict[str, Any]:
    """Read an option's value as a JSON object."""
    try:
        found = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f'{value!r} is not a JSON object, like {{"year": 2013}}')
    return found


def moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Read an option's value as a moment: a time of day and date, or how long from now."""
    if value is None:
        return None
    if (span := _SPAN.fullmatch(value)) is not None:
        return time.time_ns() // 1_000_000 + int(span[1]) * _UNIT_MS[span[2]]
    try:
        return int(datetime.fromisoformat(value).astimezone().timestamp() * 1000)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither a time like 2026-01-31T08:00 nor a span like +30s (ms, s, m, h,"
            " d)"
        ) from None


def queue_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which queue it works on."""
    for option in (
        click.option(
            "--connect-timeout-ms",
            type=click.IntRange(min=1),
            default=10_000,
            show_default=True,
            help="How long to wait for the server.",
        ),
        click.option(
            "--queue",
            "root",
            required=True,
            callback=_queue_path,
            help="The queue's root, like /jobs/flights.",
        ),
        click.option(
            "--server",
            "hosts",
            default="127.0.0.1:2181",
            show_default=True,
            help="ZooKeeper servers, host:port[,host:port...].",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def dispatcher_on(
    hosts: str, root: str, connect_timeout_ms: int, *, create: bool = False
) -> Iterator[Dispatcher]:
    """Connect to a queue for as long as a command takes."""
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)
    with Dispatcher(
        hosts, root, create=create, connect_timeout_ms=connect_timeout_ms
    ) as dispatcher:
        yield dispatcher
