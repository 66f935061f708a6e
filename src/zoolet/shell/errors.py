"""What a command could not do, in the words of the original's shell where it has some."""

from typing import Any

from kazoo import exceptions

_MESSAGES: dict[type[Exception], str] = {
    exceptions.NoNodeError: "Node does not exist: {path}",
    exceptions.NodeExistsError: "Node already exists: {path}",
    exceptions.NotEmptyError: "Node not empty: {path}",
    exceptions.NoChildrenForEphemeralsError: "Ephemerals cannot have children: {path}",
    exceptions.InvalidACLError: "Acl is not valid : {path}",
    exceptions.NoAuthError: "Insufficient permission : {path}",
    exceptions.BadVersionError: "version No is not valid : {path}",
    exceptions.BadArgumentsError: "Arguments are not valid : {path}",
    exceptions.ConnectionLoss: "The connection was lost; what the command did is not known: {path}",
    exceptions.SessionExpiredError: "The session has expired; the command did nothing: {path}",
    exceptions.ConnectionClosedError: "The connection is closed",
}


class CommandError(Exception):
    """The command did not do what it was asked; the message says why."""


class UsageError(Exception):
    """The command was written wrong; the message says how it is written."""


def describe(error: Any, path: str) -> str:
    """Return what to tell of an error of kazoo's about ``path``."""
    message = _MESSAGES.get(type(error))
    if message is None:
        return f"{type(error).__name__}: {error or path}"
    return message.format(path=path)
