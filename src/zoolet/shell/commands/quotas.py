"""Quota commands: setquota, listquota, delquota.

Paths and formats of the quota znodes are the same as in Apache ZooKeeper.
Source: Apache ZooKeeper's ``Quotas`` and ``SetQuotaCommand``.
"""

import argparse
from collections.abc import Iterator

from zoolet.client.errors import NodeExistsError, NoNodeError
from zoolet.client.thread_client.client import Client
from zoolet.model import paths
from zoolet.model.quotas import (
    BYTES,
    COUNT,
    HARD_BYTES,
    HARD_COUNT,
    LIMITS_NAME,
    STATS_NAME,
    UNLIMITED,
    format_quota,
    parse_quota,
)
from zoolet.shell.answers import Answer
from zoolet.shell.commands.arguments import Option
from zoolet.shell.commands.registry import command
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError, UsageError
from zoolet.shell.formatting import format_data

_KEYS = {"n": COUNT, "b": BYTES, "N": HARD_COUNT, "B": HARD_BYTES}
"""The key in a quota's text for each option of setquota and delquota."""


@command(
    "setquota path",
    "limit the number of znodes and data bytes in a subtree",
    Option("n", "soft limit of znodes: the server logs a warning above it", "val", int),
    Option("b", "soft limit of bytes: the server logs a warning above it", "val", int),
    Option("N", "hard limit of znodes: the server refuses writes above it", "val", int),
    Option("B", "hard limit of bytes: the server refuses writes above it", "val", int),
    changes=True,
)
def _set_quota(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    client, path = _above_all(context), arguments.path
    limits = _limits(arguments)
    if path == paths.ROOT:
        raise CommandError("a quota of the root has no effect: set a quota on a znode below it")
    if path.startswith(paths.QUOTA):
        raise CommandError(f"cannot set a quota under the path: {paths.QUOTA}")
    if client.exists(path) is None:
        raise CommandError(f"{path} does not exist.")
    _refuse_nested(client, path)
    client, place = context.changing_client, paths.QUOTA
    for part in path[1:].split("/"):
        place = paths.join(place, part)
        _ensure(client, place, None)
    present = _read(client, f"{place}/{LIMITS_NAME}") or dict.fromkeys(_KEYS.values(), UNLIMITED)
    text = format_quota(present | limits)
    _ensure(client, f"{place}/{LIMITS_NAME}", text)
    client.set(f"{place}/{LIMITS_NAME}", text)
    _ensure(client, f"{place}/{STATS_NAME}", format_quota({COUNT: 0, BYTES: 0}))
    used = _read(client, f"{place}/{STATS_NAME}") or {}
    yield from _warnings(present | limits, used)
    yield Answer({"path": path, "quota": present | limits})


def _limits(arguments: argparse.Namespace) -> dict[str, int]:
    """Return the limits that the options name."""
    given = {name: getattr(arguments, name) for name in _KEYS}
    limits = {_KEYS[name]: value for name, value in given.items() if value is not None}
    if not limits:
        raise UsageError("setquota needs a limit: -n, -b, -N or -B")
    for key, value in limits.items():
        if key in {COUNT, HARD_COUNT} and value <= 0:
            raise UsageError("the num quota must be greater than zero")
        if value < 0:
            raise UsageError("the bytes quota must be greater than or equal to zero")
    return limits


def _refuse_nested(client: Client, path: str) -> None:
    """Raise CommandError if a znode above or below has a quota: quotas cannot be nested."""
    above = paths.parent_of(path)
    while above != paths.ROOT:
        if client.exists(f"{paths.QUOTA}{above}/{LIMITS_NAME}") is not None:
            raise CommandError(f"{path} has a parent {above} which has a quota")
        above = paths.parent_of(above)
    place = f"{paths.QUOTA}{path}"
    try:
        for visited in client.walk(place):
            if visited.path != place and LIMITS_NAME in visited.names:
                child = visited.path.removeprefix(paths.QUOTA)
                raise CommandError(f"{path} has a child {child} which has a quota")
    except NoNodeError:
        return


def _warnings(limits: dict[str, int], used: dict[str, int]) -> Iterator[Answer]:
    """Yield a warning for each limit that the subtree already exceeds."""
    for key, hard in ((COUNT, HARD_COUNT), (BYTES, HARD_BYTES)):
        existing = used.get(key, 0)
        if any(UNLIMITED < limits.get(limit, UNLIMITED) < existing for limit in (key, hard)):
            text = (
                f"[Warning]: the {key} quota you create is less than the existing {key}:{existing}"
            )
            yield Answer({"warning": text}, text)


@command("listquota path", "print a znode's quota and its current usage")
def _list_quota(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    client, path = _above_all(context), arguments.path
    place = f"{paths.QUOTA}{path}".rstrip("/")
    limits, used = _read(client, f"{place}/{LIMITS_NAME}"), _read(client, f"{place}/{STATS_NAME}")
    if limits is None or used is None:
        raise CommandError(f"quota for {path} does not exist.")
    yield Answer(
        {"path": path, "quota": limits, "used": used},
        f"Output quota for {path} {format_quota(limits).decode()}\n"
        f"Output stat for {path} {format_quota(used).decode()}",
    )


@command(
    "delquota path",
    "delete a quota, or only the given limits of it",
    Option("n", "delete the soft limit of znodes"),
    Option("b", "delete the soft limit of bytes"),
    Option("N", "delete the hard limit of znodes"),
    Option("B", "delete the hard limit of bytes"),
    changes=True,
)
def _del_quota(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    client, path = _above_all(context), arguments.path
    place = f"{paths.QUOTA}{path}".rstrip("/")
    limits = _read(client, f"{place}/{LIMITS_NAME}")
    if limits is None:
        raise CommandError(f"Quota does not exist for {path}")
    ended = [key for name, key in _KEYS.items() if getattr(arguments, name)]
    client = context.changing_client
    if ended:
        left = limits | dict.fromkeys(ended, UNLIMITED)
        client.set(f"{place}/{LIMITS_NAME}", format_quota(left))
        yield Answer({"path": path, "quota": left})
        return
    for name in client.children(place).names:
        client.delete(f"{place}/{name}")
    while place != paths.QUOTA and not client.children(place).names:
        client.delete(place)
        place = paths.parent_of(place)
    yield Answer({"path": path, "quota": None})


def _above_all(context: Context) -> Client:
    """Return the client; raises CommandError if it has a chroot, which hides the quotas."""
    if context.client.chroot:
        raise CommandError(
            f"quotas are stored in {paths.QUOTA}, which is outside the root of this connection:"
            f" connect without {context.client.chroot}"
        )
    return context.client


def _ensure(client: Client, path: str, data: bytes | None) -> None:
    try:
        client.create(path, data)
    except NodeExistsError:
        return


def _read(client: Client, path: str) -> dict[str, int] | None:
    """Return the ``key=number`` pairs of a quota znode; None if the znode does not exist."""
    try:
        data, _ = client.get(path)
    except NoNodeError:
        return None
    numbers = parse_quota(data or b"")
    if not numbers:
        raise CommandError(f"The data of {path} is not a quota: {format_data(data)!r}")
    return numbers
