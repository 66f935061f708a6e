"""Commands about the shell itself: help, history, redo, connect, close, addauth and others."""

import argparse
from collections.abc import Iterator

from zoolet import __version__
from zoolet.client.errors import AuthFailedError
from zoolet.shell.answers import Answer
from zoolet.shell.commands.registry import COMMANDS, command, find
from zoolet.shell.commands.writing import to_bytes
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError, EndOfShell, UsageError, describe

_HISTORY_LINES = 11


@command("help [command]", "list the commands, or show the usage of a command", is_local=True)
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


@command("history", "list the last commands with their numbers for redo", is_local=True)
def _history(context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    for number, line in list(enumerate(context.lines))[-_HISTORY_LINES:]:
        yield Answer({"number": number, "line": line}, f"{number} - {line}")


@command("redo cmdno", "run a command of the history again", is_local=True)
def _redo(_context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    # The shell replaces a typed redo line before it runs the line. This function runs only if
    # redo is the command on the command line of zkCli.sh.
    raise UsageError("redo: there is no earlier command to run again")


@command("quit", "leave the shell", is_local=True)
def _quit(_context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    raise EndOfShell


@command("exit", "leave the shell", is_local=True)
def _exit(_context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    raise EndOfShell


@command("connect [host:port]", "open a new session with the same or another server", is_local=True)
def _connect(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    hosts = getattr(arguments, "host:port") or context.connection.hosts
    context.connect(hosts)
    yield Answer({"connected": hosts})


@command("close", "close the session, which deletes its ephemerals", is_local=True)
def _close(context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    context.close()
    yield Answer({"closed": context.connection.hosts})


@command("addauth scheme [auth]", "authenticate this connection, as in: addauth digest ann:secret")
def _add_auth(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    try:
        context.connection.log_in(arguments.scheme, to_bytes(arguments.auth or ""))
    except UnicodeEncodeError as error:
        raise UsageError(f"{arguments.scheme!r} is not the name of a scheme") from error
    except AuthFailedError as error:
        context.close()
        raise CommandError(describe(error)) from error
    yield Answer({"authenticated": arguments.scheme})


@command("version", "print the shell's version", is_local=True)
def _version(_context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    yield Answer({"version": __version__}, f"ZooKeeper CLI version: zoolet {__version__}")
