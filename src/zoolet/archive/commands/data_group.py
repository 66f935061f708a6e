"""``zoolet data``: the commands for data directories, and those that also read archives."""

import click

from zoolet.archive.commands.comparing import diff_command
from zoolet.archive.commands.restoring import restore_command
from zoolet.archive.commands.showing import history_command
from zoolet.data import commands

_BOTH = {
    "diff": diff_command,
    "history": history_command,
    "restore": restore_command,
}

data = click.Group(
    "data",
    commands={**commands.data.commands, **_BOTH},
    help="Inspect data directories and archives; only purge changes an existing directory.",
)
