"""Commands about the shell itself: help, history, the connection, who one is."""

import argparse
from collections.abc import Iterator

from kazoo.exceptions import AuthFailedError

from zoolet import __version__
from zoolet.shell.answers import Answer
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError, EndOfShell, UsageError, describe
from zoolet.shell.registry import COMMANDS, command, find

_HISTORY_LINES = 11


@command("help [command]", "list the commands, or say how one is written", is_local=True)
def _help(_context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    if arguments.command is not None:
        yield _help_on(arguments.command)
        return
    width = max(len(command.name) for command in COMMANDS.values())
    for name in sorted(COMMANDS, key=str.lower):
        found = COMMANDS[name]
        value = {"command": name, "usage": found.usage, "help": found.summary}
        yield Answer(value, f"{name:{width}}  {found.summary}")


def _help_on(name: str) -> Answer:
    found = find(name)
    lines = [found.usage, f"    {found.summary}"]
    width = max((len(option.written) for option in found.options), default=0)
    for option in found.options:
        choices = f" ({' | '.join(option.choices)})" if option.choices else ""
        lines.append(f"    {option.written:{width}}  {option.help}{choices}")
    options = {option.written: option.help for option in found.options}
    value = {
        "command": name,
        "usage": found.usage,
        "help": found.summary,
        "options": options,
    }
    return Answer(value, "\n".join(lines))


@command("history", "list the last lines, each with the number that redo takes", is_local=True)
def _history(context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    for number, line in list(enumerate(context.lines))[-_HISTORY_LINES:]:
        yield Answer({"number": number, "line": line}, f"{number} - {line}")


@command("redo cmdno", "run a line again, by its number", is_local=True)
def _redo(_context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    # A line that begins with redo is replaced before it is run; this is the command line's.
    raise UsageError("redo: there is no line before this one")


@command("quit", "leave the shell", is_local=True)
def _quit(_context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    raise EndOfShell


@command("exit", "leave the shell", is_local=True)
def _exit(_context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    raise EndOfShell


@command("connect [host:port]", "begin a new session, here or with another server", is_local=True)
def _connect(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    hosts = getattr(arguments, "host:port") or context.connection.hosts
    context.connect(hosts)
    yield Answer({"connected": hosts})


@command("close", "end the session, and with it its ephemerals", is_local=True)
def _close(context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    context.close()
    yield Answer({"closed": context.connection.hosts})


@command("addauth scheme [auth]", "prove who you are, as in: addauth digest ann:secret")
def _add_auth(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    try:
        context.client.add_auth(arguments.scheme, arguments.auth or "")
    except AuthFailedError as error:
        # kazoo would try the same credentials on connection after connection.
        context.close()
        raise CommandError(describe(error, "")) from error
    yield Answer({"authenticated": arguments.scheme})


@command("version", "print the shell's version", is_local=True)
def _version(_context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    yield Answer({"version": __version__}, f"ZooKeeper CLI version: zoolet {__version__}")
