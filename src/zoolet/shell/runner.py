"""Runs commands one after another, and returns their exit statuses.

Exit statuses: 0: the command succeeded; 1: it failed; 2: its options or arguments are invalid;
127: the command does not exist, as in Apache ZooKeeper.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from zoolet.client.errors import ConnectionLossError, ZooKeeperError
from zoolet.shell.answers import Answer
from zoolet.shell.commands.arguments import BLANKS, split_line
from zoolet.shell.commands.registry import Command, find
from zoolet.shell.context import Context
from zoolet.shell.errors import (
    AnswerIsNo,
    CommandError,
    EndOfShell,
    UnknownCommandError,
    UsageError,
    describe,
)

OK, FAILED, WRITTEN_WRONG, NOT_FOUND = 0, 1, 2, 127

_REDO = "redo"


class Shell:
    """Runs commands; after a failed command the shell continues."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def run_lines(self, lines: Iterable[str]) -> int:
        """Run each line as a command; return the status of the last command."""
        status = OK
        for line in lines:
            if not line.strip(BLANKS):
                continue
            self._context.lines.append(line.strip(BLANKS))
            try:
                status = self._reporting(self._words_of_line)
            except EndOfShell:
                return status
        return status

    def run(self, words: Sequence[str]) -> int:
        """Run one command; return its status."""
        try:
            return self._reporting(lambda: words)
        except EndOfShell:
            return OK

    def _words_of_line(self) -> Sequence[str]:
        """Return the words of the last typed line; for ``redo``, the words of the repeated line."""
        words = split_line(self._context.lines[-1])
        if words[:1] == [_REDO]:
            line = self._line_to_redo(words)
            self._context.lines[-1] = line
            words = split_line(line)
        return words

    def _line_to_redo(self, words: Sequence[str]) -> str:
        """Return the line with the number ``words[1]``; the first is 0, as in Apache's shell."""
        lines = self._context.lines
        number = int(words[1]) if len(words) == 2 and words[1].isdecimal() else -1
        if number < 0:
            raise UsageError("usage: redo cmdno")
        if number >= len(lines) - 1:
            raise CommandError("Command index out of range")
        return lines[number]

    def _run(self, command: Command, words: Sequence[str]) -> None:
        arguments = command.read(words)
        if command.changes and self._context.settings.refuses_changes:
            raise CommandError(f"{command.name}: refused, since the shell is --read-only")
        if not command.is_local:
            self._wait_for_connection()
        try:
            self._show(command, arguments)
        except _NothingShownError:
            # A command that only reads runs again if the connection was lost.
            self._wait_for_connection()
            self._show(command, arguments)
        # Watch events that arrived before the command's reply are printed before the next command.
        self._context.watches.let_events_come()

    def _show(self, command: Command, arguments: Any) -> None:
        """Run a command and print its answers."""
        has_answered = False

        def answers() -> Iterator[Answer]:
            nonlocal has_answered
            for answer in command.run(self._context, arguments):
                has_answered = True
                yield answer

        try:
            self._context.output.show(answers(), is_live=command.is_live)
        except ConnectionLossError as error:
            if command.changes or has_answered:
                raise _named(error, arguments) from error
            raise _NothingShownError from error
        except ZooKeeperError as error:
            raise _named(error, arguments) from error

    def _reporting(self, read: Callable[[], Sequence[str]]) -> int:
        """Run the command whose words ``read`` returns; print its error, and return its status.

        If the typed line is invalid, ``read`` raises the same exceptions as a command.
        """
        complain = self._context.output.complain
        self._context.has_changed = False
        command: Command | None = None
        try:
            words = read()
            command = find(words[0])
            self._run(command, words[1:])
        except AnswerIsNo:
            return FAILED
        except KeyboardInterrupt:
            complain(_told_of_interrupt(command, has_changed=self._context.has_changed))
            return FAILED
        except UsageError as error:
            complain(str(error))
            return WRITTEN_WRONG
        except UnknownCommandError as error:
            complain(str(error))
            return NOT_FOUND
        except _NothingShownError:
            complain("The connection was lost while the command was reading; run it again")
            return FAILED
        except CommandError as error:
            complain(str(error))
            return FAILED
        return OK

    def _wait_for_connection(self) -> None:
        """Wait until the client is connected, or has reconnected; raises CommandError."""
        connection = self._context.connection
        if connection.state_name == "CONNECTING" and not connection.is_soon_connected():
            self._context.output.complain(
                f"The connection to {connection.hosts} is lost; waiting for a new connection ..."
            )
        connection.wait()


def _told_of_interrupt(command: Command | None, *, has_changed: bool) -> str:
    """Return the message after Ctrl-C; it says whether the command may have changed anything."""
    if has_changed:
        return "^C: the command was stopped; a change that it sent may have been executed"
    if command is not None and command.changes:
        return "^C: the command was stopped; nothing was changed"
    return "^C: the command was stopped"


class _NothingShownError(Exception):
    """The connection was lost during a read-only command, before the command printed anything."""


def _named(error: ZooKeeperError, arguments: Any) -> CommandError:
    """Return a CommandError with Apache ZooKeeper's message for the error and the path."""
    return CommandError(describe(error, getattr(arguments, "path", None) or ""))
