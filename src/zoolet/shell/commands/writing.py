"""Commands that change znodes: create, set, delete, deleteall, setAcl, reconfig."""

import argparse
import base64
import binascii
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from kazoo.exceptions import ConnectionLoss, NoNodeError, ZookeeperError

from zoolet.client import count_descendants, create
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.codes import CreateMode
from zoolet.model.owner_kinds import MAX_TTL_MS
from zoolet.shell.answers import Answer
from zoolet.shell.arguments import Option
from zoolet.shell.commands.reading import STAT
from zoolet.shell.context import Context
from zoolet.shell.delete import delete_subtree
from zoolet.shell.errors import CommandError, UsageError, describe
from zoolet.shell.formatting import counted, format_data, format_stat, read_acl, stat_value
from zoolet.shell.interrupts import held_back
from zoolet.shell.registry import command
from zoolet.shell.walk import walk

SURE = Option("y", "do not ask")
VERSION = Option("v", "only if it has that version", "version", int)

_DELETED_AT_ONCE = 1000
_SUSPICIOUS_BYTES = 1_000_000
_IN_FLIGHT = 100


@command(
    "create path [data] [acl]",
    "create a znode",
    Option("s", "sequential: the server appends a number to the name"),
    Option("e", "ephemeral: it goes with this session"),
    Option("c", "container: it goes some time after its last child"),
    Option("t", "it is deleted after N ms without a child and without a change", "ttl", int),
    changes=True,
)
def _create(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    mode = _mode(arguments)
    data = None if arguments.data is None else to_bytes(arguments.data)
    acl = read_acl(arguments.acl) if arguments.acl else OPEN_ACL
    with explaining_size(len(data or b"")):
        created = create(context.client, arguments.path, data, mode, acl, arguments.t or 0)
    yield Answer({"created": created}, f"Created {created}")


def _mode(arguments: argparse.Namespace) -> CreateMode:
    """Return the mode that the options ask for; raises UsageError where they contradict."""
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
    Option("b", "the data is given in base64"),
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
        stat = context.client.set(arguments.path, data, version=_version(arguments))
    yield _changed(arguments, stat)


@command("delete path", "delete a znode that has no children", VERSION, changes=True)
def _delete(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    context.client.delete(arguments.path, version=_version(arguments))
    yield Answer({"deleted": arguments.path})


@command(
    "deleteall path",
    "delete a znode and everything below it",
    Option("b", f"N in a multi (default {_DELETED_AT_ONCE})", "batch size", int),
    SURE,
    changes=True,
)
def _deleteall(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    path, batch_size = arguments.path, arguments.b or _DELETED_AT_ONCE
    if batch_size < 1:
        raise UsageError("-b: a batch is at least 1 znode")
    context.refuse_root(path, "deleteall")
    count = count_descendants(context.client, path) + 1
    context.confirm(f"Delete {context.here(path)}", count, is_sure=arguments.y)
    with context.output.progress("Deleting", count) as advance:
        deleted = delete_subtree(context.client, path, batch_size, advance)
    yield Answer({"deleted": path, "znodes": deleted})


@command(
    "setAcl path acl",
    "set who may do what, as in world:anyone:cdrwa[,...]",
    STAT,
    Option("v", "only if the ACL has that version", "version", int),
    Option("R", "of all znodes below it too"),
    SURE,
    changes=True,
)
def _set_acl(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    acl = read_acl(arguments.acl)
    if not arguments.R:
        stat = context.client.set_acls(arguments.path, acl, version=_version(arguments))
        yield _changed(arguments, stat)
        return
    count = count_descendants(context.client, arguments.path) + 1
    context.confirm(f"Set the ACL of {context.here(arguments.path)}", count, is_sure=arguments.y)
    with context.output.progress("Setting ACLs", count) as advance:
        paths = (visited.path for visited in walk(context.client, arguments.path))
        setting = _SettingAcls(context, advance)
        setting.set_all(paths, acl, _version(arguments))
    if setting.failed:
        failed = counted(setting.failed, "znode")
        raise CommandError(f"The ACL of {failed} was not set, of {setting.done} it was")
    yield Answer({"path": arguments.path, "znodes": setting.done})


class _SettingAcls:
    """Sets many ACLs, and prints each failure. A znode that is gone is passed over.

    Attributes:
        done: how many were set.
        failed: how many were refused.
    """

    def __init__(self, context: Context, advance: Callable[[int], None]) -> None:
        self.done = 0
        self.failed = 0
        self._context = context
        self._advance = advance
        self._sent: deque[tuple[str, Any]] = deque()

    def set_all(self, paths: Iterable[str], acl: AclList, version: int) -> None:
        """Set the ACL of each path; raises CommandError after Ctrl-C, saying how many were set."""
        client = self._context.client
        try:
            for path in paths:
                with held_back():
                    result = client.set_acls_async(path, acl, version=version)
                    self._sent.append((path, result))
                if len(self._sent) >= _IN_FLIGHT:
                    self._settle_next()
            while self._sent:
                self._settle_next()
        except KeyboardInterrupt as interrupt:
            while self._sent:
                self._settle_next()
            done = counted(self.done, "znode")
            raise CommandError(f"{describe(interrupt, '')}; the ACL of {done} was set") from None

    def _settle_next(self) -> None:
        """Wait for the answer that comes next, and count it before a Ctrl-C ends the command."""
        with held_back():
            path, result = self._sent.popleft()
            try:
                result.get()
            except NoNodeError:
                return
            except ZookeeperError as error:
                self.failed += 1
                self._context.output.complain(describe(error, path))
            else:
                self.done += 1
        self._advance(1)


@command(
    "reconfig",
    "change the ensemble's members",
    STAT,
    Option("v", "only if the configuration has that version (hexadecimal)", "version"),
    Option("file", "the members are those of a configuration file", "path", Path),
    Option("members", "the members are these", "serverID=host:port1:port2;port3[,...]*"),
    Option("add", "these join", "serverId=host:port1:port2;port3[,...]*"),
    Option("remove", "these leave", "serverId[,...]*"),
    changes=True,
)
def _reconfig(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    is_whole = arguments.file is not None or arguments.members is not None
    is_change = arguments.add is not None or arguments.remove is not None
    if is_whole == is_change or (arguments.file is not None and arguments.members is not None):
        raise UsageError("reconfig takes -file, or -members, or -add and -remove")
    members = arguments.members if arguments.file is None else _members(arguments.file)
    try:
        version = -1 if arguments.v is None else int(arguments.v, 16)
    except ValueError as error:
        raise UsageError("-v must be followed by a hexadecimal number") from error
    data, stat = context.client.reconfig(arguments.add, arguments.remove, members, version)
    text = f"Committed new configuration:\n{format_data(data)}"
    value = {"config": format_data(data), "stat": stat_value(stat)}
    yield Answer(value, f"{text}\n{format_stat(stat)}" if arguments.s else text)


def _members(path: Path) -> str:
    """Return the ``server.N`` lines of a configuration file, as a reconfig takes them."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    members = [line.strip() for line in lines if line.strip().startswith("server.")]
    if not members:
        raise CommandError(f"{path} names no member: its lines are server.N=host:port:port;port")
    return ",".join(members)


@contextlib.contextmanager
def explaining_size(size_bytes: int) -> Iterator[None]:
    """Say what is likely where the connection is lost over much data: the server ends it."""
    try:
        yield
    except ConnectionLoss as error:
        if size_bytes < _SUSPICIOUS_BYTES:
            raise
        raise CommandError(
            f"The connection was closed over data of {size_bytes:,} bytes: a server takes no"
            " request larger than its jute.maxbuffer, which is 1 MiB unless it is set"
        ) from error


def to_bytes(word: str) -> bytes:
    """Return a word as the bytes that were typed, text or not."""
    return word.encode("utf-8", "surrogateescape")


def _version(arguments: argparse.Namespace) -> int:
    version: int | None = arguments.v
    return -1 if version is None else version


def _changed(arguments: argparse.Namespace, stat: Any) -> Answer:
    value = {"path": arguments.path, "stat": stat_value(stat)}
    return Answer(value, format_stat(stat) if arguments.s else None)
