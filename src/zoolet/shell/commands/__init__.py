"""The commands: importing this fills the table in ``registry.py``."""

from zoolet.shell.commands import (  # noqa: F401 -- each adds its commands
    copying,
    editing,
    quotas,
    reading,
    searching,
    sessions,
    shell_itself,
    watching,
    writing,
)
