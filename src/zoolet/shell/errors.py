"""The errors of commands, with Apache ZooKeeper's messages where its shell has them."""

from zoolet.client import errors
from zoolet.process.interrupts import SecondInterrupt

_MESSAGES: dict[type[Exception], str] = {
    errors.NoNodeError: "Node does not exist: {path}",
    errors.NodeExistsError: "Node already exists: {path}",
    errors.NotEmptyError: "Node not empty: {path}",
    errors.NoChildrenForEphemeralsError: "Ephemerals cannot have children: {path}",
    errors.NotReadOnlyError: "Not a read-only call: {path}",
    errors.InvalidAclError: "Acl is not valid : {path}",
    errors.NoAuthError: "Insufficient permission : {path}",
    errors.BadVersionError: "version No is not valid : {path}",
    errors.BadArgumentsError: "Arguments are not valid : {path}",
    errors.QuotaExceededError: "Quota has exceeded : {path}",
    errors.ReconfigInProgressError: "Another reconfiguration is in progress -- concurrent"
    " reconfigs not supported (yet)",
    errors.ConnectionLossError: "The connection was lost; the command may have been executed or"
    " not: {path}",
    errors.DeadlineError: "The server did not reply in time; the command may have been executed or"
    " not: {path}",
    errors.SessionExpiredError: "The session has expired; the command was not executed: {path}",
    errors.ClientClosedError: "Not connected",
    errors.AuthFailedError: "Authentication failed and the session is closed; use connect to"
    " open a new session",
    errors.HiddenAclError: "{path}: the server shows the complete ACL only to users with ADMIN (a)"
    " permission: log in as such a user with addauth, or ignore ACLs with -A",
    errors.MovedEphemeralError: "{path} is ephemeral and belongs to its session: close the session,"
    " or move ephemerals as persistent znodes with -e",
}

_NAMES: dict[type[Exception], str] = {
    errors.NoWatcherError: "No such watcher",
    errors.ReconfigDisabledError: "Reconfig is disabled",
    errors.EphemeralOnLocalSessionError: "Ephemeral node on local session",
    errors.SessionMovedError: "Session moved",
    errors.SessionClosedRequireSaslError: "Session closed because client failed to authenticate",
    errors.UnimplementedError: "Unimplemented",
    errors.ThrottledError: "Op throttled due to high load",
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


def is_uncounted(error: BaseException) -> bool:
    """Return whether changes in progress are not counted, because of a second Ctrl-C."""
    return isinstance(error, SecondInterrupt) or isinstance(error.__context__, KeyboardInterrupt)


def describe(error: BaseException, path: str = "") -> str:
    """Return the message for an error of the client, a CommandError or a Ctrl-C.

    ``path`` is used if the error names no path.
    """
    if isinstance(error, KeyboardInterrupt):
        return "^C"
    if not isinstance(error, errors.ZooKeeperError):
        return str(error)
    if isinstance(error, errors.DeadlineError) and error.detail:
        return error.detail  # it says that the request was not sent
    path = error.path or path
    message = _MESSAGES.get(type(error))
    if message is not None:
        return message.format(path=path).removesuffix(": ").rstrip()
    name = _NAMES.get(type(error)) or error.detail or type(error).__name__
    told = f"KeeperErrorCode = {name}"
    return f"{told} for {path}" if path else told
