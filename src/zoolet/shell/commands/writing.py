"""Commands that change znodes: create, set, delete, deleteall, setAcl, reconfig."""

import argparse
import base64
import binascii
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from zoolet.client.errors import (
    ConnectionLossError,
    NoAuthError,
    NoNodeError,
    NotEmptyError,
    ZooKeeperError,
)
from zoolet.client.thread_client.client import Client
from zoolet.console.texts import counted
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.codes import CreateMode
from zoolet.model.owner_kinds import MAX_TTL_MS
from zoolet.model.stat import Stat
from zoolet.process.interrupts import held_back
from zoolet.shell.answers import Answer
from zoolet.shell.commands.arguments import Option
from zoolet.shell.commands.reading import STAT
from zoolet.shell.commands.registry import command
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError, UsageError, describe, is_uncounted
from zoolet.shell.formatting import format_data, format_stat, read_acl, stat_value

if TYPE_CHECKING:
    from zoolet.client.thread_client.futures import CallFuture

SURE = Option("y", "do not ask for confirmation")
VERSION = Option("v", "only if the znode's data has this version", "version", int)

_DELETED_AT_ONCE = 1000
_SUSPICIOUS_BYTES = 1_000_000
_IN_FLIGHT = 100
_SHORT_TIMEOUT_S = 3.0
_LISTING = frozenset({"children", "multi_read"})
"""The names of the requests that list the children of a znode."""


@command(
    "create path [data] [acl]",
    "create a znode",
    Option("s", "sequential: the server appends a number to the name"),
    Option("e", "ephemeral: the server deletes the znode when this session ends"),
    Option("c", "container: the server deletes the znode some time after its last child is gone"),
    Option(
        "t", "TTL: the server deletes the znode after N ms without children or changes", "ttl", int
    ),
    changes=True,
)
def _create(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    mode = _mode(arguments)
    data = None if arguments.data is None else to_bytes(arguments.data)
    acl = read_acl(arguments.acl) if arguments.acl else OPEN_ACL
    with explaining_size(len(data or b"")):
        created = context.changing_client.create(
            arguments.path, data, mode=mode, acl=acl, ttl_ms=arguments.t or 0
        ).path
    yield Answer({"created": created}, f"Created {created}")


def _mode(arguments: argparse.Namespace) -> CreateMode:
    """Return the mode that the options select; raises UsageError if they contradict each other."""
    if arguments.c and (arguments.e or arguments.s):
        raise UsageError(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential."
        )
    if arguments.t is not None:
        if arguments.e or arguments.c:
            kind = "Ephemeral" if arguments.e else "Container"
            raise UsageError(f"TTLs cannot be used with {kind} znodes")
        if not 0 < arguments.t <= MAX_TTL_MS:
            raise UsageError(f"ttl must be positive and cannot be larger than: {MAX_TTL_MS}")
        return (
            CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL
            if arguments.s
            else CreateMode.PERSISTENT_WITH_TTL
        )
    if arguments.c:
        return CreateMode.CONTAINER
    return CreateMode(arguments.e * CreateMode.EPHEMERAL + arguments.s * 2)


@command(
    "set path data",
    "set a znode's data",
    STAT,
    VERSION,
    Option("b", "decode the given data from base64"),
    changes=True,
)
def _set(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    data = to_bytes(arguments.data)
    if arguments.b:
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise UsageError(f"the data is not base64: {error}") from error
    with explaining_size(len(data)):
        stat = context.changing_client.set(arguments.path, data, version=_version(arguments))
    yield _changed(arguments, stat)


@command("delete path", "delete a znode that has no children", VERSION, changes=True)
def _delete(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    context.changing_client.delete(arguments.path, version=_version(arguments))
    yield Answer({"deleted": arguments.path})


@command(
    "deleteall path",
    "delete a znode and everything below it",
    Option("b", f"number of znodes per multi (default {_DELETED_AT_ONCE})", "batch size", int),
    SURE,
    changes=True,
)
def _deleteall(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    path, batch_size = arguments.path, arguments.b or _DELETED_AT_ONCE
    if batch_size < 1:
        raise UsageError("-b: the batch size must be at least 1")
    context.refuse_root(path, "deleteall")
    count = context.client.count_descendants(path) + 1
    context.confirm(f"Delete {context.here(path)}", count, is_sure=arguments.y)
    with context.output.progress("Deleting", count) as advance:
        deleted = _delete_subtree(context.changing_client, path, batch_size, advance)
    yield Answer({"deleted": path, "znodes": deleted})


def _delete_subtree(
    client: Client, root: str, batch_size: int, advance: Callable[[int], None]
) -> int:
    """Delete a subtree; raises CommandError with the number of deleted znodes."""
    deleted = 0

    def note(count: int) -> None:
        nonlocal deleted
        steps, deleted = count - deleted, count
        advance(steps)

    try:
        return client.delete_recursive(root, batch_size=batch_size, progress=note)
    except NotEmptyError as error:
        raise CommandError(
            f"{root}: children are created faster than they can be deleted"
        ) from error
    except (ZooKeeperError, KeyboardInterrupt) as error:
        if is_uncounted(error):
            raise
        told = describe(error, root)
        if isinstance(error, NoAuthError) and error.request in _LISTING:
            told += ": its children cannot be listed"
        if not deleted and isinstance(error, ZooKeeperError) and error.request in _LISTING:
            raise CommandError(told) from error
        told += f"; {counted(deleted, 'znode')} had been deleted"
        told += "" if _is_gone(client, root) else f", the rest of {root} was not"
        raise CommandError(told) from error


def _is_gone(client: Client, path: str) -> bool:
    """Return whether a znode does not exist; False if the server does not reply soon."""
    try:
        return client.exists(path, timeout_s=_SHORT_TIMEOUT_S) is None
    except ZooKeeperError:
        return False


@command(
    "setAcl path acl",
    "set the ACL of a znode, as in world:anyone:cdrwa[,...]",
    STAT,
    Option("v", "only if the ACL has this version", "version", int),
    Option("R", "set the ACL of the whole subtree"),
    SURE,
    changes=True,
)
def _set_acl(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    acl = read_acl(arguments.acl)
    if not arguments.R:
        stat = context.changing_client.set_acl(arguments.path, acl, version=_version(arguments))
        yield _changed(arguments, stat)
        return
    count = context.client.count_descendants(arguments.path) + 1
    context.confirm(f"Set the ACL of {context.here(arguments.path)}", count, is_sure=arguments.y)
    with context.output.progress("Setting ACLs", count) as advance:
        setting = _SettingAcls(context, advance)
        paths = _paths_of(context.client, arguments.path)
        setting.set_all(paths, acl, _version(arguments))
    if setting.failed:
        failed = counted(setting.failed, "znode")
        done = counted(setting.done, "znode")
        raise CommandError(f"The ACL of {failed} was not set; the ACL of {done} was set")
    yield Answer({"path": arguments.path, "znodes": setting.done})


def _paths_of(client: Client, root: str) -> Iterator[str]:
    """Yield the paths of a subtree, also of znodes that cannot be read."""
    refused: list[str] = []
    for visited in client.walk(root, on_refused=lambda error: refused.append(error.path)):
        yield from refused
        refused.clear()
        yield visited.path
    yield from refused


class _SettingAcls:
    """Sets many ACLs, and prints each failure. Ignores znodes that no longer exist.

    Attributes:
        done: the number of ACLs that were set.
        failed: the number of ACLs that the server refused.
    """

    def __init__(self, context: Context, advance: Callable[[int], None]) -> None:
        self.done = 0
        self.failed = 0
        self._context = context
        self._advance = advance
        self._sent: deque[tuple[str, CallFuture[Stat]]] = deque()

    def set_all(self, paths: Iterable[str], acl: AclList, version: int) -> None:
        """Set the ACL of each path.

        Raises CommandError after Ctrl-C; the message has the number of ACLs that were set.
        """
        futures = self._context.changing_client.futures
        with held_back() as held:
            try:
                for path in paths:
                    held.check()
                    self._sent.append((path, futures.set_acl(path, acl, version=version)))
                    if len(self._sent) >= _IN_FLIGHT:
                        self._settle_next()
                while self._sent:
                    self._settle_next()
            except KeyboardInterrupt as interrupt:
                if is_uncounted(interrupt):
                    raise
                while self._sent:
                    self._settle_next()
                done = counted(self.done, "znode")
                raise CommandError(f"{describe(interrupt)}; the ACL of {done} was set") from None

    def _settle_next(self) -> None:
        """Wait for the next reply."""
        path, result = self._sent.popleft()
        try:
            result.result()
        except NoNodeError:
            return
        except ZooKeeperError as error:
            self.failed += 1
            self._context.output.complain(describe(error, path))
        else:
            self.done += 1
        self._advance(1)


@command(
    "reconfig",
    "change the ensemble's members",
    STAT,
    Option("v", "only if the configuration has this version (hexadecimal)", "version"),
    Option("file", "replace all members by the members in a configuration file", "path", Path),
    Option("members", "replace all members", "serverID=host:port1:port2;port3[,...]*"),
    Option("add", "add members", "serverId=host:port1:port2;port3[,...]*"),
    Option("remove", "remove members", "serverId[,...]*"),
    changes=True,
)
def _reconfig(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    is_whole = arguments.file is not None or arguments.members is not None
    is_change = arguments.add is not None or arguments.remove is not None
    if is_whole == is_change or (arguments.file is not None and arguments.members is not None):
        raise UsageError("reconfig takes -file, or -members, or -add and/or -remove")
    members = arguments.members if arguments.file is None else _members(arguments.file)
    try:
        version = -1 if arguments.v is None else int(arguments.v, 16)
    except ValueError as error:
        raise UsageError("-v must be followed by a hexadecimal number") from error
    data, stat = context.changing_client.reconfig(
        joining=arguments.add, leaving=arguments.remove, members=members, version=version
    )
    text = f"Committed new configuration:\n{format_data(data)}"
    value = {"config": format_data(data), "stat": stat_value(stat)}
    yield Answer(value, f"{text}\n{format_stat(stat)}" if arguments.s else text)


def _members(path: Path) -> str:
    """Return the ``server.N`` lines of a configuration file in the format of a reconfig request."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    members = [line.strip() for line in lines if line.strip().startswith("server.")]
    if not members:
        raise CommandError(f"{path} has no member: add lines server.N=host:port:port;port")
    return ",".join(members)


@contextlib.contextmanager
def explaining_size(size_bytes: int) -> Iterator[None]:
    """Name the likely cause if the connection is lost after large data was sent."""
    try:
        yield
    except ConnectionLossError as error:
        if size_bytes < _SUSPICIOUS_BYTES:
            raise
        raise CommandError(
            f"The connection was closed after data of {size_bytes:,} bytes was sent: a server"
            " closes it if a request is larger than its jute.maxbuffer (default 1 MiB)"
        ) from error


def to_bytes(word: str) -> bytes:
    """Return the bytes of a typed word, also if they are not valid UTF-8."""
    return word.encode("utf-8", "surrogateescape")


def _version(arguments: argparse.Namespace) -> int:
    version: int | None = arguments.v
    return -1 if version is None else version


def _changed(arguments: argparse.Namespace, stat: Stat) -> Answer:
    value = {"path": arguments.path, "stat": stat_value(stat)}
    return Answer(value, format_stat(stat) if arguments.s else None)
