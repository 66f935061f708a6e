"""The errors of `zoolet.client`: a class for each error code, and errors of the client itself.

Every error that a call raises is a `ZooKeeperError`, except ValueError for an invalid argument.
Source of the codes: ``KeeperException.Code`` of Apache ZooKeeper 3.9. This module imports nothing
of zoolet, because user code often needs only the errors.
"""

from typing import ClassVar, Final


class ZooKeeperError(Exception):
    """A call failed.

    Attributes:
        code: the error code of the protocol; 0 for an error of the client itself.
        request: the name of the request, such as ``getData``; "" if there is none.
        path: the path that the caller gave; "" if the request has none.
        results: for a multi, the error of each operation, in order; otherwise empty.
    """

    code: ClassVar[int] = 0
    explanation: ClassVar[str] = ""

    def __init__(self, request: str = "", path: str = "", detail: str = "") -> None:
        super().__init__(request, path, detail)
        self.request = request
        self.path = path
        self.detail = detail
        self.results: tuple[ZooKeeperError, ...] = ()

    def __str__(self) -> str:
        about = f"{self.request} {self.path}".strip()
        reason = self.detail or self.explanation
        return f"{about}: {reason}" if about else reason


class ConnectionLossError(ZooKeeperError):
    """The connection was lost before the reply came: the server may have applied the request."""

    code = -4
    explanation = "the connection was lost before the reply; the server may have applied it or not"


class UnimplementedError(ZooKeeperError):
    """The server does not know this request: it is too old, or the request is disabled."""

    code = -6
    explanation = "the server does not know this request; it may be older than the request"


class NoNodeError(ZooKeeperError):
    """The znode, or the parent of a new znode, does not exist."""

    code = -101
    explanation = "the znode does not exist"


class NodeExistsError(ZooKeeperError):
    """The znode exists already."""

    code = -110
    explanation = "the znode exists already"


class NotEmptyError(ZooKeeperError):
    """The znode has children, so it cannot be deleted."""

    code = -111
    explanation = "the znode has children"


class BadVersionError(ZooKeeperError):
    """The version of the znode is not the version that the caller gave."""

    code = -103
    explanation = "the znode has another version"


class NoAuthError(ZooKeeperError):
    """The ACL does not give this client the permission."""

    code = -102
    explanation = "the ACL does not permit it"


class InvalidAclError(ZooKeeperError):
    """The ACL is empty or has an invalid entry."""

    code = -114
    explanation = "the ACL is not valid"


class AuthFailedError(ZooKeeperError):
    """The server refused the login, so the session cannot be used any more."""

    code = -115
    explanation = "the server refused the login"


class NoChildrenForEphemeralsError(ZooKeeperError):
    """The parent is an ephemeral, which cannot have children."""

    code = -108
    explanation = "the parent is an ephemeral"


class BadArgumentsError(ZooKeeperError):
    """The server refused the arguments of the request."""

    code = -8
    explanation = "the server refused the arguments"


class SessionExpiredError(ZooKeeperError):
    """The session expired: its ephemerals are deleted, and the request was not applied."""

    code = -112
    explanation = "the session has expired"


class SessionMovedError(ZooKeeperError):
    """The session is connected to another server, which got a later connection of it."""

    code = -118
    explanation = "the session has moved to another connection"


class NotReadOnlyError(ZooKeeperError):
    """The server is read-only at the moment, and the request is a write."""

    code = -119
    explanation = "the server serves only reads at the moment"


class EphemeralOnLocalSessionError(ZooKeeperError):
    """A local session cannot create ephemerals."""

    code = -120
    explanation = "a local session cannot create ephemerals"


class NoWatcherError(ZooKeeperError):
    """There is no such watch."""

    code = -121
    explanation = "there is no such watch"


class RequestTimeoutError(ZooKeeperError):
    """The server did not process the request in time."""

    code = -122
    explanation = "the server did not process the request in time"


class ReconfigDisabledError(ZooKeeperError):
    """The server's configuration does not permit reconfig (``reconfigEnabled``)."""

    code = -123
    explanation = "the server has reconfigEnabled=false"


class ReconfigInProgressError(ZooKeeperError):
    """Another reconfiguration is in progress."""

    code = -14
    explanation = "another reconfiguration is in progress"


class NewConfigNoQuorumError(ZooKeeperError):
    """A quorum of the new ensemble is not connected to the leader."""

    code = -13
    explanation = "a quorum of the new ensemble is not connected"


class SessionClosedRequireSaslError(ZooKeeperError):
    """The server requires a login with SASL, and closed the session."""

    code = -124
    explanation = "the server requires a login with SASL"


class QuotaExceededError(ZooKeeperError):
    """The change would exceed a hard quota."""

    code = -125
    explanation = "the change would exceed a quota"


class ThrottledError(ZooKeeperError):
    """The server has too many requests, and refused this one."""

    code = -127
    explanation = "the server has too many requests"


class MarshallingError(ZooKeeperError):
    """The server could not decode the request."""

    code = -5
    explanation = "the server could not decode the request"


class RuntimeInconsistencyError(ZooKeeperError):
    """An operation of a multi was not tried, because an operation before it failed."""

    code = -2
    explanation = "an earlier operation of the multi failed"


class RolledBackError(ZooKeeperError):
    """An operation of a multi had no error, but the multi was not applied."""

    explanation = "a later operation of the multi failed"


class ServerError(ZooKeeperError):
    """The server replied with another error code; ``detail`` has the number."""


class DeadlineError(ZooKeeperError, TimeoutError):
    """The reply did not come in time: the server may have applied the request, or may do it later.

    If the request was not sent, the server has not applied it; then ``detail`` says so. The error
    of a recipe has the path of the recipe; the error of its last request is the ``__cause__``.
    """

    explanation = "no reply in time; the server may have applied it or not"


class LockLostError(ZooKeeperError):
    """A lock, a lease or the leadership was lost; another client may have it now."""

    explanation = "the lock was lost"


class HiddenAclError(ZooKeeperError):
    """The server shows the complete ACL of a znode only to clients with ADMIN permission."""

    explanation = (
        "the server shows the complete ACL only to clients with ADMIN permission: log in as such a"
        " client, or copy without ACLs"
    )


class MovedEphemeralError(ZooKeeperError):
    """A subtree with an ephemeral cannot be moved: the ephemeral belongs to its session."""

    explanation = "an ephemeral belongs to its session; move it as a persistent znode, or leave it"


class WaitCancelledError(ZooKeeperError):
    """The method ``cancel`` of a recipe ended this wait."""

    explanation = "the wait was cancelled"


class ClientClosedError(ZooKeeperError):
    """The client is closed, or not started yet."""

    explanation = "the client is closed"


class NoServerError(ZooKeeperError):
    """No server could be reached; the message names each address with its reason."""


class ForkedClientError(ZooKeeperError):
    """The client belongs to the parent of this process: a child must make a client of its own."""

    explanation = "this process was forked after the client was made; make another client here"


class ProtocolError(ZooKeeperError):
    """The server sent invalid bytes. The client closes the connection and connects again."""


ERRORS: Final[dict[int, type[ZooKeeperError]]] = {
    error.code: error
    for error in (
        ConnectionLossError,
        UnimplementedError,
        NoNodeError,
        NodeExistsError,
        NotEmptyError,
        BadVersionError,
        NoAuthError,
        InvalidAclError,
        AuthFailedError,
        NoChildrenForEphemeralsError,
        BadArgumentsError,
        SessionExpiredError,
        SessionMovedError,
        NotReadOnlyError,
        EphemeralOnLocalSessionError,
        NoWatcherError,
        RequestTimeoutError,
        ReconfigDisabledError,
        ReconfigInProgressError,
        NewConfigNoQuorumError,
        SessionClosedRequireSaslError,
        QuotaExceededError,
        ThrottledError,
        MarshallingError,
        RuntimeInconsistencyError,
    )
}
"""The class of each error code that has its own class."""


def error_of(code: int, request: str, path: str) -> ZooKeeperError:
    """Return the error for an error code of a reply."""
    known = ERRORS.get(code)
    if known is not None:
        return known(request, path)
    return ServerError(request, path, f"the server replied with the error code {code}")
