"""The commands: importing this fills the table in ``registry.py``."""

from zoolet.shell.commands import (
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

__all__ = [
    "copying",
    "editing",
    "quotas",
    "reading",
    "searching",
    "sessions",
    "shell_itself",
    "watching",
    "writing",
]
