"""Access control: which identities an ACL lets do what, and which ACLs may be set.

Source: ``ZooKeeperServer.checkACL``, ``PrepRequestProcessor.fixupACL`` and the authentication
providers of the original.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Callable, Sequence

from zoolet.model.acl import ACL, ANYONE, OPEN_ACL, AclList, Id
from zoolet.model.codes import ErrorCode, Permission
from zoolet.model.errors import RequestError


def check(acl: AclList, identities: Sequence[Id], permission: Permission, path: str = "") -> None:
    """Return if one of ``identities`` has one of the permissions; raises RequestError (NO_AUTH)."""
    if acl is OPEN_ACL or is_allowed(acl, identities, permission):
        return
    raise RequestError(ErrorCode.NO_AUTH, path)


def is_allowed(acl: AclList, identities: Sequence[Id], permission: Permission) -> bool:
    """Say whether one of ``identities`` has one of the permissions."""
    for entry in acl:
        if not entry.perms & permission:
            continue
        if entry.id == ANYONE:
            return True
        matches = _MATCHES.get(entry.id.scheme)
        if matches is not None and any(
            identity.scheme == entry.id.scheme and matches(identity.id, entry.id.id)
            for identity in identities
        ):
            return True
    return False


def resolve(acl: AclList, identities: Sequence[Id], path: str) -> AclList:
    """Return the list to be stored: without repetitions, ``auth`` replaced by who asks.

    Raises RequestError (INVALID_ACL) where an entry names an unknown scheme or an ill-formed id,
    where ``auth`` stands and nobody has authenticated, or where the list is empty.
    """
    resolved: list[ACL] = []
    for entry in dict.fromkeys(acl):
        scheme, name = entry.id
        if scheme == "auth":
            own = [ACL(entry.perms, who) for who in identities if who.scheme in _AUTHENTICATED]
            if not own:
                raise RequestError(ErrorCode.INVALID_ACL, path)
            resolved += own
        elif entry.id == ANYONE or (scheme in _IS_VALID and _IS_VALID[scheme](name)):
            resolved.append(entry)
        else:
            raise RequestError(ErrorCode.INVALID_ACL, path)
    if not resolved:
        raise RequestError(ErrorCode.INVALID_ACL, path)
    return tuple(resolved)


def authenticate(scheme: str, credentials: bytes, address: str) -> Id | None:
    """Return the identity that ``credentials`` prove under a scheme, or None where they do not.

    digest proves ``user:password`` of any kind: it is the ACL that says which of them may pass.
    """
    if scheme == "digest":
        return Id("digest", digest_of(credentials))
    if scheme == "ip":
        return Id("ip", address)
    return None


def digest_of(credentials: bytes) -> str:
    """Return the id under which ``user:password`` stands in an ACL: ``user:base64(sha1(both))``.

    Source: ``DigestAuthenticationProvider.generateDigest``. SHA-1 is the format's, not a choice.
    """
    user = credentials.split(b":", 1)[0].decode("utf-8", "replace")
    digest = hashlib.sha1(credentials, usedforsecurity=False).digest()
    return f"{user}:{base64.b64encode(digest).decode()}"


def user_of(scheme: str, name: str) -> str:
    """Return the user that an identity is of: a digest's is what stands before its colon."""
    return name.split(":", 1)[0] if scheme == "digest" else name


def hide_digests(acl: AclList) -> AclList:
    """Return the list with an ``x`` in place of each digest, for those who may not administer."""
    return tuple(
        ACL(entry.perms, Id("digest", entry.id.id.split(":", 1)[0] + ":x"))
        if entry.id.scheme == "digest" and ":" in entry.id.id
        else entry
        for entry in acl
    )


def _is_network(name: str) -> bool:
    try:
        ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False
    return True


def _is_in_network(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


_AUTHENTICATED = frozenset({"digest"})
"""The schemes whose identities were proven, so that ``auth`` stands for them."""

_MATCHES: dict[str, Callable[[str, str], bool]] = {
    "digest": lambda who, wanted: who == wanted,
    "ip": _is_in_network,
}

_IS_VALID: dict[str, Callable[[str], bool]] = {
    "digest": lambda name: name.count(":") == 1,
    "ip": _is_network,
}
