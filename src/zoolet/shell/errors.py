"""What a command could not do, in the words of Apache ZooKeeper's shell where it has some."""

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
    exceptions.ConnectionLoss: "The connection was lost; what the command did is not known: {path}",
    exceptions.SessionExpiredError: "The session has expired; the command did nothing: {path}",
    exceptions.ConnectionClosedError: "Not connected",
    exceptions.AuthFailedError: "Authentication failed, and with that the session is over; connect"
    " begins a new one",
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
"""What Apache ZooKeeper calls the errors that it has no sentence for."""


class CommandError(Exception):
    """The command did not do what it was asked; the message says why."""


class UsageError(Exception):
    """The command was written wrong; the message says how it is written."""


class UnknownCommandError(Exception):
    """There is no such command."""


class EndOfShell(Exception):  # noqa: N818 -- nothing went wrong
    """A command ends the shell."""


class AnswerIsNo(Exception):  # noqa: N818 -- nothing went wrong
    """The command did its work, and found no match or a difference: status 1, and no message."""


def describe(error: Any, path: str) -> str:
    """Return what to tell of an error of kazoo's about ``path``, or of another end of a command."""
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
