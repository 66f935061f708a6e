"""``zkCli.sh``: one command from the command line, or many from a person or a pipe.

Exit status: 0 where the (last) command did what it was asked, 1 where it did not or no server
answers, 2 where the command line was written wrong.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter

from zoolet.shell.commands import COMMANDS, execute, split_line
from zoolet.shell.errors import CommandError, UsageError, describe

OK, FAILED, WRITTEN_WRONG = 0, 1, 2

_DEFAULT_TIMEOUT_MS = 30_000
_RECONNECT_CHECK_S = 0.1


def main(argv: list[str]) -> int:
    """Run the shell; returns the exit status."""
    arguments = _arguments(argv)
    # What kazoo has to say of connections, the shell says itself.
    logging.getLogger("kazoo").setLevel(logging.CRITICAL + 1)
    timeout_s = arguments.timeout / 1000
    client: Any = KazooClient(hosts=arguments.server, timeout=timeout_s)
    try:
        client.start(timeout=timeout_s)
    except KazooTimeoutError:
        _complain(
            f"no ZooKeeper server answers at {arguments.server} within {timeout_s:g} s: is it"
            " running, and is the address right (-server HOST:PORT)?"
        )
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    else:
        shell = Shell(client, arguments.server, timeout_s)
        if arguments.command:
            return shell.run(arguments.command)
        return shell.run_lines()
    finally:
        client.stop()
        client.close()


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="zkCli.sh",
        description="Work on a ZooKeeper server. Without a command, lines are read from standard"
        " input; the command help lists the commands.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-server",
        default="127.0.0.1:2181",
        metavar="HOST:PORT[,HOST:PORT...][/PATH]",
        help="the server, or the members of an ensemble, and the znode to take as the root"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "-timeout",
        type=int,
        default=_DEFAULT_TIMEOUT_MS,
        metavar="MS",
        help="the session timeout, and how long to wait for a server (default: %(default)s)",
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="a command of the shell and its arguments"
    )
    arguments = parser.parse_args(argv)
    if arguments.timeout <= 0:
        parser.error(f"-timeout {arguments.timeout}: a timeout is at least 1 ms")
    return arguments


class Shell:
    """Commands on one client, one after another."""

    def __init__(self, client: KazooClient, server: str, timeout_s: float) -> None:
        self._client: Any = client
        self._server = server
        self._timeout_s = timeout_s
        self._count = 0

    def run_lines(self) -> int:
        """Run a line at a time until the input ends; returns the last command's status."""
        status = OK
        for line in self._lines():
            try:
                words = split_line(line)
            except UsageError as error:
                _complain(str(error))
                status = WRITTEN_WRONG
                continue
            if not words:
                continue
            self._count += 1
            try:
                status = self.run(words)
            except EOFError:
                return OK
        return status

    def run(self, words: list[str]) -> int:
        """Run one command and print what it says; returns its status.

        Raises EOFError where the command ends the shell.
        """
        try:
            self._wait_for_connection()
            for line in execute(self._client, words):
                print(line, flush=True)  # noqa: T201 -- printing is what a shell does
        except KeyboardInterrupt:
            _complain("^C: the command was ended; what it had begun is not undone")
            return FAILED
        except UsageError as error:
            _complain(str(error))
            return WRITTEN_WRONG
        except CommandError as error:
            _complain(str(error))
            return FAILED
        except KazooException as error:
            path = next((word for word in words[1:] if word.startswith("/")), "")
            _complain(describe(error, path))
            return FAILED
        return OK

    def _lines(self) -> Iterator[str]:
        if not sys.stdin.isatty():
            yield from sys.stdin
            return
        session: PromptSession[str] = PromptSession(completer=WordCompleter(sorted(COMMANDS)))
        while True:
            try:
                yield session.prompt(self._prompt)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return

    def _prompt(self) -> str:
        state = "CONNECTED" if self._client.connected else "CONNECTING"
        return f"[zk: {self._server}({state}) {self._count}] "

    def _wait_for_connection(self) -> None:
        """Return when there is a connection, which comes back by itself; raises CommandError."""
        if self._client.connected:
            return
        _complain(f"The connection to {self._server} is lost; waiting for it to come back ...")
        handler = self._client.handler
        waited_s = 0.0
        while not self._client.connected:
            if waited_s >= self._timeout_s:
                raise CommandError(f"no ZooKeeper server answers at {self._server}")
            handler.sleep_func(_RECONNECT_CHECK_S)
            waited_s += _RECONNECT_CHECK_S


def _complain(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 -- printing is what a shell does
