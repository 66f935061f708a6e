"""Commands that read: ls, get, stat, getAcl, getAllChildrenNumber, whoami, config and others."""

import argparse
import base64
from collections.abc import Iterator

from zoolet.client.errors import NoNodeError
from zoolet.exports.lines import show_data
from zoolet.model import paths
from zoolet.model.acl_texts import format_permissions
from zoolet.model.stat import Stat
from zoolet.shell.answers import Answer
from zoolet.shell.commands.arguments import Option
from zoolet.shell.commands.registry import command
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError
from zoolet.shell.formatting import (
    acl_value,
    format_data,
    format_hexdump,
    format_names,
    format_stat,
    is_json,
    stat_value,
)

STAT = Option("s", "print the Stat too")
WATCH = Option("w", "set a one-shot watch; its event is printed when it arrives")


@command(
    "ls path",
    "list a znode's children",
    STAT,
    WATCH,
    Option("R", "list the whole subtree, one path per line"),
)
def _ls(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    path = arguments.path
    if arguments.R:
        yield from _ls_subtree(context, path, with_watches=arguments.w)
        return
    reader = context.watches if arguments.w else context.client
    found = reader.children(path)
    names, stat = sorted(found.names), found.stat
    value = {"path": path, "children": names} | ({"stat": stat_value(stat)} if arguments.s else {})
    yield Answer(value, _with_stat(format_names(names), stat, is_wanted=arguments.s))


def _ls_subtree(context: Context, root: str, *, with_watches: bool) -> Iterator[Answer]:
    """Yield all paths in Apache ZooKeeper's order: all children, then their subtrees."""
    if with_watches:
        context.watches.get(root)
    yield Answer({"path": root}, root)
    for visited in context.client.walk(root):
        if with_watches:
            context.watches.children(visited.path)
        for name in visited.names:
            path = paths.join(visited.path, name)
            yield Answer({"path": path}, path)


@command(
    "get path",
    "print a znode's data",
    STAT,
    WATCH,
    Option("b", "print the data in base64"),
    Option("x", "print the data as a hexdump"),
)
def _get(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    path = arguments.path
    data, stat = (context.watches if arguments.w else context.client).get(path)
    text = format_data(data)
    is_plain = not (arguments.b or arguments.x)
    if arguments.x:
        text = format_hexdump(text.encode() if data is None else data)
    elif arguments.b:
        text = base64.b64encode(text.encode() if data is None else data).decode()
    value = {"path": path, **show_data(data), "stat": stat_value(stat)}
    if is_plain and is_json(text):
        yield Answer(value, format_stat(stat) if arguments.s else None, document=text)
    else:
        yield Answer(value, _with_stat(text, stat, is_wanted=arguments.s))


@command("stat path", "print a znode's Stat", WATCH)
def _stat(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    path = arguments.path
    stat = (context.watches if arguments.w else context.client).exists(path)
    if stat is None:
        raise NoNodeError
    yield Answer({"path": path, "stat": stat_value(stat)}, format_stat(stat))


@command("getAcl path", "print the ACL of a znode", STAT)
def _get_acl(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    acl, stat = context.client.get_acl(arguments.path)
    lines = [
        f"'{entry.id.scheme},'{entry.id.id}\n: {format_permissions(entry.perms)}" for entry in acl
    ]
    value = {"path": arguments.path, "acl": acl_value(acl), "stat": stat_value(stat)}
    yield Answer(value, _with_stat("\n".join(lines), stat, is_wanted=arguments.s))


@command("getAllChildrenNumber path", "count the znodes below a path, at any depth")
def _count(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    count = context.client.count_descendants(arguments.path)
    yield Answer({"path": arguments.path, "count": count}, str(count))


@command("getEphemerals [path]", "list this session's ephemerals whose paths begin with path")
def _get_ephemerals(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    found = sorted(context.client.ephemerals(arguments.path or paths.ROOT))
    yield Answer({"ephemerals": found}, format_names(found))


@command("sync path", "wait until this server has all changes that the leader has committed")
def _sync(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    context.client.sync(arguments.path)
    yield Answer({"synced": arguments.path}, "Sync is OK")


@command("whoami", "list the authenticated identities of this connection")
def _whoami(context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    found = context.client.who_am_i()
    lines = ["Auth scheme: User", *(f"{who.scheme}: {who.id}" for who in found)]
    yield Answer(
        {"identities": [{"scheme": who.scheme, "id": who.id} for who in found]}, "\n".join(lines)
    )


@command(
    "config",
    "print the ensemble's configuration",
    Option("c", "print only its version and the client addresses"),
    WATCH,
    STAT,
)
def _config(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    if arguments.w and context.client.chroot:
        raise CommandError(
            "config -w: the configuration znode is outside the root of this connection; connect"
            " without a path"
        )
    data, stat = context.client.config()
    if arguments.w:
        context.watches.get(paths.CONFIG)
    text = format_data(data)
    shown = _client_addresses(text) if arguments.c else text
    value = {"config": shown, "stat": stat_value(stat)}
    yield Answer(value, _with_stat(shown, stat, is_wanted=arguments.s))


def _client_addresses(config: str) -> str:
    """Return a configuration's version and its members' client addresses in one line."""
    version, addresses = "", []
    for line in config.splitlines():
        key, _, written = line.partition("=")
        if key.strip() == "version":
            version = written.strip()
        elif key.startswith("server."):
            address = written.partition(";")[2].strip()
            addresses.append(address if ":" in address else f"0.0.0.0:{address}")
    return f"{version} {','.join(addresses)}"


def _with_stat(text: str, stat: Stat, *, is_wanted: bool) -> str:
    return f"{text}\n{format_stat(stat)}" if is_wanted else text
