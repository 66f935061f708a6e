"""The commands: importing this fills the table in ``registry.py``."""

from zoolet.shell.commands import (
    copying,
    editing,
    own,
    quotas,
    reading,
    searching,
    sessions,
    watching,
    writing,
)

__all__ = [
    "copying",
    "editing",
    "own",
    "quotas",
    "reading",
    "searching",
    "sessions",
    "watching",
    "writing",
]
