"""The errors of requests: which of them pass, and messages for the others.

A message names the side, the znode, the permission that is missing, and the option to give.
Imports ``model``, the errors of ``client``, and the errors.
"""

import contextlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from zoolet.archive.errors import ArchiveError
from zoolet.client.errors import (
    AuthFailedError,
    ConnectionLossError,
    DeadlineError,
    InvalidAclError,
    NoAuthError,
    QuotaExceededError,
    RequestTimeoutError,
    SessionExpiredError,
    SessionMovedError,
    ThrottledError,
    ZooKeeperError,
)
from zoolet.model import paths

LOST: Final = (
    ConnectionLossError,
    DeadlineError,
    RequestTimeoutError,
    SessionExpiredError,
    SessionMovedError,
    ThrottledError,
)
"""Errors after which the mirror compares again, when the servers answer."""


class Part(NamedTuple):
    """A side of a mirror: its name in messages, and the options for its place and its logins."""

    name: str
    option: str
    auth_option: str


SOURCE: Final = Part("source", "--from", "--from-auth")
TARGET: Final = Part("target", "--to", "--to-auth")


class _Needed(NamedTuple):
    """What a request does, the permission that it needs, and whether the parent's ACL gives it."""

    verb: str
    permission: str
    is_of_parent: bool = False


_READ: Final = _Needed("read", "READ")
_NEEDED: Final = {
    "create": _Needed("create", "CREATE", is_of_parent=True),
    "delete": _Needed("delete", "DELETE", is_of_parent=True),
    "set": _Needed("write", "WRITE"),
    "set_acl": _Needed("set the ACL of", "ADMIN"),
    "get": _READ,
    "get_acl": _READ,
    "children": _READ,
}
"""Source: ``PrepRequestProcessor.pRequest2Txn`` and ``FinalRequestProcessor``."""


@contextlib.contextmanager
def explained_at(side: Part) -> Iterator[None]:
    """Raise an ArchiveError that names the side, instead of an error that is not one of `LOST`."""
    try:
        yield
    except LOST:
        raise
    except ZooKeeperError as error:
        raise refused(side, error) from error


def refused(side: Part, error: ZooKeeperError) -> ArchiveError:
    """Return the error for a request that a side refused."""
    if isinstance(error, AuthFailedError):
        return _login_refused(side)
    needed = _NEEDED.get(error.request)
    if needed is None:
        return ArchiveError(f"the {side.name} refuses a request: {error}")
    about = f"the {side.name} refuses to {needed.verb} {error.path}"
    if isinstance(error, NoAuthError):
        return ArchiveError(f"{about}: {_missing(side, needed, error.path)}")
    if isinstance(error, QuotaExceededError):
        return ArchiveError(f"{about}: {error.explanation}. Raise the quota in the {side.name}")
    if isinstance(error, InvalidAclError):
        return ArchiveError(
            f"{about}: the server does not know a scheme or an identity of its ACL. Configure this"
            f" scheme in the {side.name}, or change the ACL in the source"
        )
    return ArchiveError(f"{about}: {error.detail or error.explanation}")


def no_session(side: Part, place: str, error: ZooKeeperError) -> ArchiveError:
    """Return the error for a side that gives no session; ``place`` has its addresses."""
    if isinstance(error, AuthFailedError):
        return _login_refused(side)
    return ArchiveError(
        f"the {side.name} {place} does not answer: {error.detail or error.explanation}. Check"
        f" {side.option}, and whether the server runs"
    )


def hidden_acl(side: Part, path: str) -> ArchiveError:
    """Return the error for an ACL whose digests the server does not show."""
    return ArchiveError(
        f"the {side.name} does not show the complete ACL of {path}: only a client with the"
        f" permission ADMIN sees it. Give a login with this permission: {side.auth_option}"
        " digest:USER:PASSWORD"
    )


def no_counter(path: str) -> ArchiveError:
    """Return the error for a parent in the target whose counter may not be raised."""
    return ArchiveError(
        f"the target refuses to raise the counter for sequential znodes below {path}: the ACL of"
        f" {path} gives the mirror no CREATE or no DELETE permission. {_give_login(TARGET)}."
        " Or give --counter-steps 0: then sequential znodes in the target can get lower numbers"
    )


def _missing(side: Part, needed: _Needed, path: str) -> str:
    owner = f"its parent {paths.parent_of(path)}" if needed.is_of_parent else "this znode"
    reason = f"the ACL of {owner} gives the mirror no {needed.permission} permission"
    return f"{reason}. {_give_login(side)}"


def _login_refused(side: Part) -> ArchiveError:
    return ArchiveError(
        f"the {side.name} refuses the login: check the scheme and the secret of {side.auth_option}"
    )


def _give_login(side: Part) -> str:
    return f"Give a login that has it: {side.auth_option} digest:USER:PASSWORD"
