"""The entry points: ``zoolet``, ``zkServer.sh``, ``zkCli.sh``, and scripts for data directories.

This module lists the commands and their modules. It imports the module of a command only when the
command is run, because a server does not need the shell and the shell does not need the server. If
a command does not handle an OSError, this module prints it in one line.
"""
# ruff: noqa: E402 -- the garbage collector is configured before large modules are imported

import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from zoolet import collector

collector.configure()

import click

from zoolet.model.build import DESCRIPTION
from zoolet.model.oserrors import explain

_PLACES: Final = {
    "data": "zoolet.data.commands",
    "jobs": "zoolet.jobs.cli.commands",
    "server": "zoolet.server.cli.commands",
    "worker": "zoolet.jobs.cli.commands",
}
"""The module of each command; the command has the same name in its module."""

_FAILED: Final = 1


class _Commands(click.Group):
    """The commands of this module, and those of ``_PLACES``, which are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_PLACES])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _PLACES:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(_PLACES[cmd_name]), cmd_name)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; print an OSError that it raises in one line."""
        return _telling_os_errors(lambda: super(_Commands, self).main(*args, **kwargs))


def _telling_os_errors(run: Callable[[], Any]) -> Any:
    """Run a program. If it raises an OSError, print one line and exit with status 1.

    The output is flushed here, because Python prints its own message if a flush at exit fails.
    """
    try:
        try:
            return run()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        _discard_output()
        # A closed pipe is not an error: its reader needs no more output.
        if not isinstance(error, BrokenPipeError):
            with contextlib.suppress(OSError):
                click.echo(f"zoolet: {explain(error)}", err=True)
        sys.exit(_FAILED)


def _discard_output() -> None:
    """Redirect standard output to the null device, so that Python's flush at exit succeeds."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(DESCRIPTION, prog_name="zoolet", message="%(prog)s %(version)s")
def main() -> None:
    """ZooKeeper for Python: a coordination server, its shell, and a job system."""


@main.command(
    "shell",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def shell(arguments: tuple[str, ...]) -> None:
    """Run commands on any ZooKeeper server, like zkCli.sh (see: zoolet shell -h)."""
    _run_shell(list(arguments))


def zk_server() -> None:
    """Run ``zkServer.sh``."""
    from zoolet.server.cli.commands import server  # noqa: PLC0415 -- see the head of this module

    _telling_os_errors(lambda: server(prog_name="zkServer.sh"))


def zk_cli() -> None:
    """Run ``zkCli.sh``."""
    _telling_os_errors(lambda: _run_shell(sys.argv[1:]))


def zk_cleanup() -> None:
    """Run ``zkCleanup.sh``."""
    from zoolet.data.scripts import zk_cleanup as script  # noqa: PLC0415 -- see the head
    from zoolet.server.cli.commands import configured_directories  # noqa: PLC0415 -- see the head

    _telling_os_errors(lambda: script(obj=configured_directories))


def zk_txn_log_toolkit() -> None:
    """Run ``zkTxnLogToolkit.sh``."""
    from zoolet.data.scripts import zk_txn_log_toolkit as script  # noqa: PLC0415 -- see the head

    _telling_os_errors(script)


def zk_snapshot_toolkit() -> None:
    """Run ``zkSnapShotToolkit.sh``."""
    from zoolet.data.scripts import zk_snapshot_toolkit as script  # noqa: PLC0415 -- see the head

    _telling_os_errors(script)


def zk_snapshot_comparer() -> None:
    """Run ``zkSnapshotComparer.sh``."""
    from zoolet.data.scripts import zk_snapshot_comparer as script  # noqa: PLC0415 -- see the head

    _telling_os_errors(script)


def _run_shell(arguments: list[str]) -> None:
    from zoolet.shell.main import main as shell_main  # noqa: PLC0415 -- see the head of this module

    sys.exit(shell_main(arguments))
