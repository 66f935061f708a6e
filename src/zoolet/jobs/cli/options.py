"""The common parts of the commands on a queue: their options and their error messages.

This module imports click, `zoolet.client`, `zoolet.console`, `zoolet.model` and other packages of
`zoolet.jobs`.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from zoolet.client.command_options import CONNECTION_VALUES, connection_options, settings_of
from zoolet.client.connecting.options import DEFAULT_HOSTS
from zoolet.client.connecting.settings import SERVER_VARIABLE, ConnectionSettings
from zoolet.console.printing import Printer
from zoolet.console.terminal import printable
from zoolet.jobs.dispatcher.dispatcher import Dispatcher
from zoolet.jobs.errors import InvalidJobError, JobError
from zoolet.jobs.results.urls import parse_store_urls
from zoolet.model import paths

QUEUE_VARIABLE: Final = "ZOOLET_QUEUE"
SIGNING_KEYS_VARIABLE: Final = "ZOOLET_SIGNING_KEYS"
STORES_VARIABLE: Final = "ZOOLET_RESULT_STORES"

_SPAN = re.compile(r"(\d+)(ms|s|m|h|d)")
UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""The milliseconds of each unit of a duration."""


@dataclass(frozen=True, slots=True)
class Target:
    """The queue of a command, and its output.

    Attributes:
        connection: the settings of the connection to ZooKeeper.
        root: the path of the queue's root.
        printer: prints the output of the command.
        signing_keys: the file of keys of signatures; None: nothing is signed.
        result_stores: the URLs of result stores by name.
    """

    connection: ConnectionSettings
    root: str
    printer: Printer
    signing_keys: Path | None = None
    result_stores: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn errors of the queue and the server into error messages of the command."""
    try:
        yield
    except (JobError, TimeoutError, ValueError) as error:
        raise click.ClickException(printable(str(error)) or type(error).__name__) from error


def _queue_paths(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(_queue_path(context, parameter, value) for value in values)


def _queue_path(_: click.Context, __: click.Parameter, value: str) -> str:
    if (reason := paths.reason_invalid(value)) is not None:
        raise click.BadParameter(f"{value!r} is not a valid znode path: {reason}")
    return value


def json_object(_: click.Context, __: click.Parameter, value: str) -> dict[str, Any]:
    """Return an option's value as a JSON object."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{value!r} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f'{value!r} is not a JSON object, like {{"year": 2013}}')
    return found


class FromNow(int):
    """A time, in ms from now, by the server's clock, which is known only after connecting."""


def moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Return an option's value as a time, in ms since the epoch, or as `FromNow`."""
    return None if value is None else _time_ms(value, "+", 1, "a duration like +30s")


def past_moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Return an option's value, a time or a time ago, in ms since the epoch, or as `FromNow`."""
    return None if value is None else _time_ms(value, "", -1, "a time ago like 24h")


def _time_ms(value: str, prefix: str, sign: int, span_form: str) -> int:
    """Return a time; a value that begins with ``prefix`` may be a span, ``sign`` from now."""
    try:
        span = _SPAN.fullmatch(value.removeprefix(prefix)) if value.startswith(prefix) else None
        if span is not None:
            return FromNow(sign * int(span[1]) * UNIT_MS[span[2]])
        return int(datetime.fromisoformat(value).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither a time like 2026-01-31T08:00 nor {span_form} (units: ms, s, m,"
            " h, d)"
        ) from None


def by_servers_time(dispatcher: Dispatcher, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of options with times by the server's clock instead of `FromNow`."""
    spans = {name: value for name, value in values.items() if isinstance(value, FromNow)}
    if not spans:
        return values
    now_ms = dispatcher.queue.server_time_ms()
    return values | {name: now_ms + value for name, value in spans.items()}


_queue_option = click.option(
    "--queue",
    "root",
    required=True,
    envvar=QUEUE_VARIABLE,
    show_envvar=True,
    callback=_queue_path,
    help="Path of the queue's root, like /jobs/flights.",
)


class _OnePath(click.types.StringParamType):
    """A path; the value of an environment variable is one path, also if it has spaces."""

    def split_envvar_value(self, rv: str) -> list[str]:
        return [rv]


_queues_option = click.option(
    "--queue",
    "roots",
    type=_OnePath(),
    multiple=True,
    required=True,
    envvar=QUEUE_VARIABLE,
    show_envvar=True,
    callback=_queue_paths,
    help="Path of the queue's root, like /jobs/flights. May be repeated: the queues share the"
    " executors.",
)

_server_option = click.option(
    "--server",
    "hosts",
    default=DEFAULT_HOSTS,
    show_default=True,
    envvar=SERVER_VARIABLE,
    show_envvar=True,
    help="ZooKeeper servers, host:port[,host:port...].",
)

_keys_option = click.option(
    "--signing-keys",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar=SIGNING_KEYS_VARIABLE,
    show_envvar=True,
    help="File of keys. Jobs and schedules that are submitted get a signature; a worker runs only"
    " jobs with a valid signature.",
)


def _store_urls(_: click.Context, __: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    try:
        return parse_store_urls(given)
    except InvalidJobError as error:
        raise click.BadParameter(str(error)) from None


_stores_option = click.option(
    "--result-store-url",
    "result_stores",
    multiple=True,
    callback=_store_urls,
    envvar=STORES_VARIABLE,
    show_envvar=True,
    metavar="NAME=URL",
    help="URL of the result store of this name; NAME=@FILE reads it from a file, so that ps does"
    " not show a password. May be repeated; in the variable, separated by spaces.",
)

_output_option = click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the output; json: one value in each line.",
)


def queue_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select a queue to a command; the command gets them as ``target``."""

    @functools.wraps(command)
    def run(*, root: str, **values: Any) -> None:
        target, others = _target(root, **values)
        command(target=target, **others)

    return _with_options(run, _queue_option)


def queues_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select several queues; the command gets ``target`` and ``roots``.

    The target has the first queue.
    """

    @functools.wraps(command)
    def run(*, roots: tuple[str, ...], **values: Any) -> None:
        target, others = _target(roots[0], **values)
        command(target=target, roots=roots, **others)

    return _with_options(run, _queues_option)


def _target(
    root: str,
    *,
    hosts: str,
    output: str,
    signing_keys: Path | None,
    result_stores: Mapping[str, str],
    **values: Any,
) -> tuple[Target, dict[str, Any]]:
    """Return the target of a command, and the values of its other options."""
    connection = settings_of(hosts, **{name: values.pop(name) for name in CONNECTION_VALUES})
    printer = Printer(is_json=output == "json")
    return Target(connection, root, printer, signing_keys, result_stores), values


def _with_options(
    run: Callable[..., None], queue_option: Callable[[Callable[..., None]], Callable[..., None]]
) -> Callable[..., None]:
    found: Callable[..., None] = connection_options(_output_option(run))
    for option in (_stores_option, _keys_option, _server_option, queue_option):
        found = option(found)
    return found


def command_on_queue(
    function: Callable[..., None],
    options: Sequence[Callable[..., Any]],
    *,
    name: str,
    needs_one_of: str | None = None,
) -> click.Command:
    """Return a command that calls ``function`` with a dispatcher, the target, and its options.

    ``needs_one_of`` is the error message if the user gives none of the options; None if the command
    needs no option.
    """

    def run(*, target: Target, **values: Any) -> None:
        if needs_one_of is not None and all(v in {None, ()} for v in values.values()):
            raise click.UsageError(needs_one_of)
        with errors_as_messages(), dispatcher_on(target) as dispatcher:
            function(dispatcher, target, **values)

    run.__doc__ = function.__doc__
    command: Any = queue_options(run)
    for option in reversed(options):
        command = option(command)
    return click.command(name)(command)


@contextmanager
def dispatcher_on(target: Target, *, create: bool = False) -> Iterator[Dispatcher]:
    """Connect to a queue while a command runs."""
    with Dispatcher(
        target.connection,
        target.root,
        create=create,
        result_stores=target.result_stores,
        signing_keys=target.signing_keys,
    ) as dispatcher:
        yield dispatcher
