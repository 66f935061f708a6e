"""Commands on one connection, one after another: how each is run, and what its end is called.

Exit statuses: 0 the command did what it was asked; 1 it did not; 2 it was written wrong; 127 there
is no such command, as in Apache ZooKeeper.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kazoo.exceptions import ConnectionLoss, KazooException

from zoolet.shell.answers import Answer
from zoolet.shell.arguments import BLANKS, split_line
from zoolet.shell.context import Context
from zoolet.shell.errors import (
    AnswerIsNo,
    CommandError,
    EndOfShell,
    UnknownCommandError,
    UsageError,
    describe,
)
from zoolet.shell.registry import Command, find

OK, FAILED, WRITTEN_WRONG, NOT_FOUND = 0, 1, 2, 127

_REDO = "redo"


class Shell:
    """Runs commands; a failed one ends itself and nothing else."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def run_lines(self, lines: Iterable[str]) -> int:
        """Run a line at a time until they end; returns the last command's status."""
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
        """Run one command; returns its status."""
        try:
            return self._reporting(lambda: words)
        except EndOfShell:
            return OK

    def _words_of_line(self) -> Sequence[str]:
        """Return the words of the line that was typed last; of the line it repeats for ``redo``."""
        words = split_line(self._context.lines[-1])
        if words[:1] == [_REDO]:
            line = self._line_to_redo(words)
            self._context.lines[-1] = line
            words = split_line(line)
        return words

    def _line_to_redo(self, words: Sequence[str]) -> str:
        """Return the line whose number follows; Apache ZooKeeper's numbers, which begin at 0."""
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
            # What only reads is read again where the connection was lost under it.
            self._wait_for_connection()
            self._show(command, arguments)
        # What happened before a command's answer is told before the next command.
        self._context.connection.let_events_come()

    def _show(self, command: Command, arguments: Any) -> None:
        """Run a command and print what it says."""
        has_answered = False

        def answers() -> Iterator[Answer]:
            nonlocal has_answered
            for answer in command.run(self._context, arguments):
                has_answered = True
                yield answer

        try:
            self._context.output.show(answers(), is_live=command.is_live)
        except ConnectionLoss as error:
            if command.changes or has_answered:
                raise _named(error, arguments) from error
            raise _NothingShownError from error
        except KazooException as error:
            raise _named(error, arguments) from error

    def _reporting(self, read: Callable[[], Sequence[str]]) -> int:
        """Run the command whose words ``read`` returns; says what went wrong, returns the status.

        ``read`` raises what a line raises that is no command.
        """
        complain = self._context.output.complain
        sent_before = self._context.changes_sent
        command: Command | None = None
        try:
            words = read()
            command = find(words[0])
            self._run(command, words[1:])
        except AnswerIsNo:
            return FAILED
        except KeyboardInterrupt:
            has_sent = self._context.changes_sent > sent_before
            complain(_told_of_interrupt(command, has_sent_changes=has_sent))
            return FAILED
        except UsageError as error:
            complain(str(error))
            return WRITTEN_WRONG
        except UnknownCommandError as error:
            complain(str(error))
            return NOT_FOUND
        except _NothingShownError:
            complain("The connection was lost while the command read; run it again")
            return FAILED
        except CommandError as error:
            complain(str(error))
            return FAILED
        return OK

    def _wait_for_connection(self) -> None:
        """Return when there is a connection, which comes back by itself; raises CommandError."""
        connection = self._context.connection
        if not connection.is_connected() and connection.state_name == "CONNECTING":
            self._context.output.complain(
                f"The connection to {connection.hosts} is lost; waiting for it to come back ..."
            )
        connection.wait()


def _told_of_interrupt(command: Command | None, *, has_sent_changes: bool) -> str:
    """Return what to say after Ctrl-C: what is known of changes, nothing if there are none."""
    if has_sent_changes:
        return "^C: the command was ended; a change that it had sent may have been made"
    if command is not None and command.changes:
        return "^C: the command was ended; nothing was changed"
    return "^C: the command was ended"


class _NothingShownError(Exception):
    """The connection was lost before a command that changes nothing had said anything."""


def _named(error: Exception, arguments: Any) -> CommandError:
    """Return the error with the path that the command is about, in Apache ZooKeeper's words."""
    path = getattr(error, "path", None) or getattr(arguments, "path", None) or ""
    return CommandError(describe(error, path))
