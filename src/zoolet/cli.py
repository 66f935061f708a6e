"""The commands: ``zoolet``, ``zkServer.sh`` and ``zkCli.sh``.

Owns which commands there are and where they stand. Each is loaded when it is asked for: a server
has no use for the shell, and a shell none for the server.
"""

import importlib
import sys
from typing import Final

import click

from zoolet import __version__
from zoolet.model import packed

_KIND = "compiled" if packed.__file__.endswith(".so") else "pure Python"

_PLACES: Final = {
    "data": "zoolet.data.commands",
    "jobs": "zoolet.jobs.commands",
    "server": "zoolet.server.commands",
    "worker": "zoolet.jobs.commands",
}
"""Which module has the command of a name, under that name."""


class _Commands(click.Group):
    """The commands of this module, and those that are loaded when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_PLACES])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _PLACES:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(_PLACES[cmd_name]), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zoolet", message=f"%(prog)s %(version)s ({_KIND})")
def main() -> None:
    """ZooKeeper for Python: a coordination server, its shell, and a job system."""


@main.command(
    "shell",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def shell(arguments: tuple[str, ...]) -> None:
    """Work on any ZooKeeper server; the same as zkCli.sh (see: zoolet shell -h)."""
    _run_shell(list(arguments))


def zk_server() -> None:
    """Run ``zkServer.sh``."""
    from zoolet.server.commands import server  # noqa: PLC0415 -- see the head of this module

    server(prog_name="zkServer.sh")


def zk_cli() -> None:
    """Run ``zkCli.sh``."""
    _run_shell(sys.argv[1:])


def _run_shell(arguments: list[str]) -> None:
    from zoolet.shell import main as shell_main  # noqa: PLC0415 -- see the head of this module

    sys.exit(shell_main(arguments))
