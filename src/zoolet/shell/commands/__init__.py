"""The shell's commands. Importing this package fills the table in ``registry.py``."""

from zoolet.shell.commands import (  # noqa: F401 -- each module adds its commands
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
