"""The commands, in one table: what each is called, how it is written, and what it does.

A command gets a started kazoo client and its arguments, and yields the lines it prints. What goes
wrong it raises: kazoo's errors as they come, CommandError and UsageError.
"""

import argparse
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError, NotEmptyError
from kazoo.security import ACL, Permissions, make_acl

from zoolet.model import paths
from zoolet.shell.errors import CommandError, UsageError
from zoolet.shell.formatting import format_data, format_names, format_stat, printable

_PERMISSIONS = {
    "c": Permissions.CREATE,
    "d": Permissions.DELETE,
    "r": Permissions.READ,
    "w": Permissions.WRITE,
    "a": Permissions.ADMIN,
}

Run = Callable[[Any, argparse.Namespace], Iterator[str]]


class _Parser(argparse.ArgumentParser):
    """Reads a command's words; what is wrong with them is a UsageError."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\nusage: {self.usage}")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the shell.

    Attributes:
        name: what is typed.
        usage: how it is written.
        help: what it does, in a line.
        parser: reads its arguments.
        run: does it.
    """

    name: str
    usage: str
    help: str
    parser: argparse.ArgumentParser
    run: Run


COMMANDS: dict[str, Command] = {}


def execute(client: KazooClient, words: list[str]) -> Iterator[str]:
    """Run the command that ``words`` are, and yield the lines that it prints."""
    command = COMMANDS.get(words[0])
    if command is None:
        raise CommandError(f"Command not found: {printable(words[0])}; help lists the commands")
    arguments = command.parser.parse_args(words[1:])
    if getattr(arguments, "path", None) is not None:
        reason = paths.reason_invalid(arguments.path)
        if reason is not None:
            raise CommandError(f"Path {printable(arguments.path)!r} is not valid: {reason}")
    yield from command.run(client, arguments)


def split_line(line: str) -> list[str]:
    """Split a line into words as a shell does, with quotes and backslashes."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"the line cannot be split into words: {error}") from error


def _command(usage: str, help_text: str, *options: tuple[str, str | None]) -> Callable[[Run], Run]:
    """Add a function to the table.

    ``usage`` names the command and its positional arguments, those that may be left out in
    brackets; ``options`` are its single letters, each with the name of its value or None.
    """

    def add(run: Run) -> Run:
        name, *positional = usage.split()
        flags = [f"-{letter} {value}" if value else f"-{letter}" for letter, value in options]
        written = " ".join([name, *(f"[{flag}]" for flag in flags), *positional])
        parser = _Parser(prog=name, usage=written, add_help=False, allow_abbrev=False)
        for letter, value in options:
            if value is None:
                parser.add_argument(f"-{letter}", action="store_true")
            else:
                parser.add_argument(f"-{letter}", type=int, default=-1, metavar=value)
        for word in positional:
            if word.startswith("["):
                parser.add_argument(word.strip("[]"), nargs="?")
            else:
                parser.add_argument(word)
        COMMANDS[name] = Command(name, written, help_text, parser, run)
        return run

    return add


@_command(
    "ls path",
    "list a znode's children; -s with its Stat, -R the whole subtree",
    ("s", None),
    ("R", None),
)
def _ls(client: Any, arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.R:
        yield from map(printable, _subtree(client, arguments.path))
        return
    names, stat = client.get_children(arguments.path, include_data=True)
    yield format_names(names)
    if arguments.s:
        yield format_stat(stat)


@_command("get path", "print a znode's data; -s with its Stat", ("s", None))
def _get(client: Any, arguments: argparse.Namespace) -> Iterator[str]:
    data, stat = client.get(arguments.path)
    yield format_data(data)
    if arguments.s:
        yield format_stat(stat)


@_command(
    "create path [data] [acl]",
    "create a znode; -s sequential, -e ephemeral",
    ("s", None),
    ("e", None),
)
def _create(client: Any, arguments: argparse.Namespace) -> Iterator[str]:
    acl = _parse_acl(arguments.acl) if arguments.acl else None
    created = client.create(
        arguments.path,
        (arguments.data or "").encode(),
        acl=acl,
        ephemeral=arguments.e,
        sequence=arguments.s,
    )
    yield f"Created {printable(created)}"


@_command(
    "set path data",
    "set a znode's data; -v if it has that version, -s print its Stat",
    ("s", None),
    ("v", "version"),
)
def _set(client: Any, arguments: argparse.Namespace) -> Iterator[str]:
    stat = client.set(arguments.path, arguments.data.encode(), version=arguments.v)
    if arguments.s:
        yield format_stat(stat)


@_command(
    "delete path", "delete a znode without children; -v if it has that version", ("v", "version")
)
def _delete(client: Any, arguments: argparse.Namespace) -> Iterator[str]:
    client.delete(arguments.path, version=arguments.v)
    yield from ()


@_command("deleteall path", "delete a znode and everything below it")
def _deleteall(client: Any, arguments: argparse.Namespace) -> Iterator[str]:
    """Delete the deepest first; what someone else deletes or adds meanwhile is met again."""
    if arguments.path == paths.ROOT:
        raise CommandError("the root and ZooKeeper's own znodes cannot be deleted")
    if client.exists(arguments.path) is None:
        raise NoNodeError
    while client.exists(arguments.path) is not None:
        for path in reversed(list(_subtree(client, arguments.path))):
            try:
                client.delete(path)
            except NoNodeError:
                continue
            except NotEmptyError:
                break
    yield from ()


@_command("stat path", "print a znode's Stat")
def _stat(client: Any, arguments: argparse.Namespace) -> Iterator[str]:
    stat = client.exists(arguments.path)
    if stat is None:
        raise NoNodeError
    yield format_stat(stat)


@_command("help", "list the commands")
def _help(_client: Any, _arguments: argparse.Namespace) -> Iterator[str]:
    width = max(len(command.usage) for command in COMMANDS.values())
    for name in sorted(COMMANDS):
        command = COMMANDS[name]
        yield f"{command.usage:{width}}  {command.help}"


@_command("quit", "leave the shell")
def _quit(_client: Any, _arguments: argparse.Namespace) -> Iterator[str]:
    raise EOFError


def _subtree(client: Any, root: str) -> Iterator[str]:
    """Yield ``root`` and the paths below it, each before its children, in order of name."""
    waiting = [root]
    while waiting:
        path = waiting.pop()
        try:
            names = client.get_children(path)
        except NoNodeError:
            if path == root:
                raise
            continue
        yield path
        waiting += [paths.join(path, name) for name in sorted(names, reverse=True)]


def _parse_acl(text: str) -> list[ACL]:
    """Read ``scheme:id:permissions[,...]``, such as ``world:anyone:cdrwa``."""
    entries = []
    for entry in text.split(","):
        scheme, _, rest = entry.partition(":")
        identity, _, letters = rest.rpartition(":")
        unknown = set(letters) - set(_PERMISSIONS)
        if not scheme or not letters or unknown:
            raise UsageError(
                f"{printable(entry)!r} is no ACL: write scheme:id:permissions, the permissions"
                " being letters of cdrwa, as in world:anyone:cdrwa"
            )
        permissions = sum(_PERMISSIONS[letter] for letter in set(letters))
        entries.append(ACL(permissions, make_acl(scheme, identity).id))
    return entries
