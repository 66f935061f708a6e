"""The commands: ``zoolet``, ``zkServer.sh``, ``zkCli.sh``, and scripts for data directories.

This module lists the commands and their modules. It imports the module of a command only when the
command is run, because a server does not need the shell and the shell does not need the server. If
a command does not handle an OSError, or needs a package that is not installed, it prints one line.
``zoolet.entry`` runs a server without this module.
"""
# ruff: noqa: E402 -- the garbage collector is configured before large modules are imported

import importlib
import sys
from typing import Any, Final

from zoolet.process import collector

collector.configure()

import click

from zoolet.console.extras import explain_import, missing
from zoolet.console.os_errors import needs_posix
from zoolet.console.programs import run_reporting, use_utf8
from zoolet.console.reporting import fail
from zoolet.model.build import DESCRIPTION

_PLACES: Final = {
    "admin-user": "zoolet.server.cli.admin_user",
    "archive": "zoolet.archive.commands.archive",
    "data": "zoolet.archive.commands.data_group",
    "ensemble": "zoolet.ensemble.commands",
    "init": "zoolet.server.cli.init",
    "jobs": "zoolet.jobs.cli.commands",
    "mirror": "zoolet.archive.commands.mirror",
    "server": "zoolet.server.cli.commands",
    "top": "zoolet.top.commands",
    "web": "zoolet.web.commands",
    "web-user": "zoolet.web.commands",
    "worker": "zoolet.jobs.cli.worker_command",
}
"""The module of each command; the command has the same name in its module, with ``_`` for ``-``."""

_NEED_POSIX: Final = frozenset(
    {"archive", "data", "ensemble", "init", "server", "web", "web-user", "worker"}
)
"""The commands that Windows does not support."""

_NEEDED: Final = {"archive": "zstandard", "jobs": "sqlalchemy", "worker": "sqlalchemy"}
"""The optional package that a command needs, although it imports the package later."""


class _Commands(click.Group):
    """The commands of this module, and those of ``_PLACES``, which are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_PLACES])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _PLACES:
            return super().get_command(ctx, cmd_name)
        if sys.platform == "win32" and cmd_name in _NEED_POSIX:
            return _unavailable(cmd_name, needs_posix(f"zoolet {cmd_name}"))
        if cmd_name in _NEEDED and (reason := missing(_NEEDED[cmd_name])) is not None:
            return _unavailable(cmd_name, reason)
        try:
            module = importlib.import_module(_PLACES[cmd_name])
            command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        except ImportError as error:
            if (reason := explain_import(error)) is None:
                raise
            return _unavailable(cmd_name, reason)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; print an OSError that it raises in one line."""
        if not args and "args" not in kwargs:
            use_utf8()
        return run_reporting(lambda: super(_Commands, self).main(*args, **kwargs))


def _unavailable(name: str, reason: str) -> click.Command:
    """Return a command that prints why it cannot run, and fails. ``zoolet -h`` shows it too."""
    return click.Command(
        name,
        callback=lambda: fail(f"zoolet: {reason}"),
        help=f"Not available: {reason}",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )


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
    _run_script("zkServer.sh", "zoolet.server.cli.commands", "server", prog_name="zkServer.sh")


def zk_cli() -> None:
    """Run ``zkCli.sh``."""
    use_utf8()
    run_reporting(lambda: _run_shell(sys.argv[1:]))


def zk_cleanup() -> None:
    """Run ``zkCleanup.sh``."""
    _run_script("zkCleanup.sh", "zoolet.data.scripts", "zk_cleanup", obj=_configured_directories)


def _configured_directories(*arguments: Any) -> Any:
    """Call the function of this name in zoolet.server, which data/ must not import."""
    from zoolet.server.cli.commands import configured_directories  # noqa: PLC0415 -- see the head

    return configured_directories(*arguments)


def zk_txn_log_toolkit() -> None:
    """Run ``zkTxnLogToolkit.sh``."""
    _run_script("zkTxnLogToolkit.sh", "zoolet.data.scripts", "zk_txn_log_toolkit")


def zk_snapshot_toolkit() -> None:
    """Run ``zkSnapShotToolkit.sh``."""
    _run_script("zkSnapShotToolkit.sh", "zoolet.data.scripts", "zk_snapshot_toolkit")


def zk_snapshot_comparer() -> None:
    """Run ``zkSnapshotComparer.sh``."""
    _run_script("zkSnapshotComparer.sh", "zoolet.data.scripts", "zk_snapshot_comparer")


def _run_script(name: str, module: str, command: str, **arguments: Any) -> None:
    """Import the module of a command and run the command as the script ``name``."""
    if sys.platform == "win32":
        fail(f"zoolet: {needs_posix(name)}")
    use_utf8()
    run_reporting(lambda: getattr(importlib.import_module(module), command)(**arguments))


def _run_shell(arguments: list[str]) -> None:
    from zoolet.shell.main import main as shell_main  # noqa: PLC0415 -- see the head of this module

    sys.exit(shell_main(arguments))
