"""The errors of commands, with Apache ZooKeeper's messages where its shell has them."""

from typing import Any

from kazoo import exceptions

_MESSAGES: dict[type[Exception], str] = {
    exceptions.NoNodeError: "Node does not exist: {path}",
    exceptions.NodeExistsError: "Node already exists: {path}",
    exceptions.NotEmptyError: "Node not empty: {path}",
    exceptions.NoChildrenForEphemeralsError: "Ephemerals cannot have children: {path}",
    exceptions.NotReadOnlyCallError: "Not a read-only call: {path}",
    exceptions.InvalidACLError: "Acl is not valid : {path}",
    exceptions.NoAuthError: "Insufficient permission : {path}",
    exceptions.BadVersionError: "version No is not valid : {path}",
    exceptions.BadArgumentsError: "Arguments are not valid : {path}",
    exceptions.QuotaExceededError: "Quota has exceeded : {path}",
    exceptions.ReconfigInProcessError: "Another reconfiguration is in progress -- concurrent"
    " reconfigs not supported (yet)",
    exceptions.ConnectionLoss: "The connection was lost; the command may have been executed or not:"
    " {path}",
    exceptions.SessionExpiredError: "The session has expired; the command was not executed: {path}",
    exceptions.ConnectionClosedError: "Not connected",
    exceptions.AuthFailedError: "Authentication failed and the session is closed; use connect to"
    " open a new session",
}

_NAMES: dict[type[Exception], str] = {
    exceptions.NoWatcherError: "No such watcher",
    exceptions.ReconfigDisabledError: "Reconfig is disabled",
    exceptions.EphemeralOnLocalSessionError: "Ephemeral node on local session",
    exceptions.SessionMovedError: "Session moved",
    exceptions.SessionClosedRequireSaslError: "Session closed because client failed to"
    " authenticate",
    exceptions.UnimplementedError: "Unimplemented",
    exceptions.ThrottledOpError: "Op throttled due to high load",
}
"""Apache ZooKeeper's names of the errors for which it has no message."""


class CommandError(Exception):
    """The command failed; the message says why."""


class UsageError(Exception):
    """The command has invalid options or arguments; the message explains the correct form."""


class UnknownCommandError(Exception):
    """The command does not exist."""


class EndOfShell(Exception):  # noqa: N818 -- not an error
    """A command ends the shell."""


class AnswerIsNo(Exception):  # noqa: N818 -- not an error
    """``grep`` found no match, or ``diff`` found a difference: status 1 without a message."""


def describe(error: Any, path: str) -> str:
    """Return the message for a kazoo error about ``path``, a CommandError or a Ctrl-C."""
    if isinstance(error, CommandError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "^C"
    message = _MESSAGES.get(type(error))
    if message is not None:
        return message.format(path=path).removesuffix(": ").rstrip()
    name = _NAMES.get(type(error), type(error).__name__)
    told = f"KeeperErrorCode = {name}"
    return f"{told} for {path}" if path else f"{told} {error}".rstrip()
