"""Access control: which identities an ACL lets do what, and which ACLs may be set.

Source: ``ZooKeeperServer.checkACL``, ``PrepRequestProcessor.fixupACL`` and the authentication
providers of the original.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zoolet.model.acl import ACL, ANYONE, OPEN_ACL, AclList, Id
from zoolet.model.codes import ErrorCode
from zoolet.model.errors import RequestError

SKIPS_ACL = Id("super", "skipACL")
"""What every connection is where the server runs with skipACL; whoAmI does not show it."""


class DigestRules(NamedTuple):
    """How the scheme digest is set up (``DigestAuthenticationProvider``).

    Attributes:
        algorithm: hashlib's name of the hash.
        super_digest: ``user:digest`` of the user whom every ACL lets in; empty: there is none.
        is_enabled: whether there is such a scheme at all.
    """

    algorithm: str = "sha1"
    super_digest: str = ""
    is_enabled: bool = True


def check(acl: AclList, identities: Sequence[Id], permission: int, path: str = "") -> None:
    """Return if one of ``identities`` has one of the permissions; raises RequestError (NO_AUTH)."""
    if acl is OPEN_ACL or is_allowed(acl, identities, permission):
        return
    raise RequestError(ErrorCode.NO_AUTH, path)


def is_allowed(acl: AclList, identities: Sequence[Id], permission: int) -> bool:
    """Say whether one of ``identities`` has one of the permissions."""
    if not acl or any(identity.scheme == "super" for identity in identities):
        return True
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
    if acl is OPEN_ACL:
        return acl
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


def authenticate(
    scheme: str, credentials: bytes | None, address: str, digests: DigestRules
) -> tuple[Id, ...]:
    """Return the identities that ``credentials`` prove under a scheme; none where they do not.

    digest proves ``user:password`` of any kind: it is the ACL that says which of them may pass.
    """
    if scheme == "digest" and digests.is_enabled and credentials is not None:
        digest = digest_of(credentials, digests.algorithm)
        proven = Id("digest", digest)
        return (Id("super", ""), proven) if digest == digests.super_digest else (proven,)
    if scheme == "ip":
        return (Id("ip", address),)
    return ()


def digest_of(credentials: bytes, algorithm: str = "sha1") -> str:
    """Return the id under which ``user:password`` stands in an ACL: ``user:base64(hash(both))``.

    Source: ``DigestAuthenticationProvider.generateDigest``. SHA-1 is its default, not our choice.
    """
    text = credentials.decode("utf-8", "replace")
    digest = hashlib.new(algorithm, text.encode(), usedforsecurity=False).digest()
    return f"{text.split(':', 1)[0]}:{base64.b64encode(digest).decode()}"


def user_of(scheme: str, name: str) -> str:
    """Return the user that an identity is of: a digest's is what stands before its colon."""
    if scheme == "digest":
        return name.split(":", 1)[0]
    return name if scheme in _MATCHES else ""


def hide_digests(acl: AclList) -> AclList:
    """Return the list with an ``x`` in place of each digest, for those who may not administer."""
    return tuple(
        ACL(entry.perms, Id("digest", entry.id.id.split(":", 1)[0] + ":x"))
        if entry.id.scheme == "digest" and ":" in entry.id.id
        else entry
        for entry in acl
    )


def _is_user_and_digest(name: str) -> bool:
    """Count the parts as Java's split does: empty ones at the end are none."""
    parts = name.split(":")
    while parts and not parts[-1]:
        parts.pop()
    return len(parts) == 2


def _network_of(name: str) -> tuple[int, int] | None:
    """Return an IPv4 address and its mask, from ``a.b.c.d`` or ``a.b.c.d/bits``.

    None where it is neither: the original's scheme ip knows IPv4 alone.
    """
    dotted, slash, bits = name.partition("/")
    numbers = [_number(part) for part in dotted.split(".")]
    length = _number(bits) if slash else _ADDRESS_BITS
    if len(numbers) != 4 or not 0 <= length <= _ADDRESS_BITS:
        return None
    if not all(0 <= number <= 255 for number in numbers):
        return None
    mask = (1 << _ADDRESS_BITS) - (1 << _ADDRESS_BITS - length)
    return int.from_bytes(bytes(numbers)) & mask, mask


def _number(text: str) -> int:
    """Return what Java's parseInt does; -1 where that is an error."""
    return int(text) if _INTEGER.fullmatch(text) else -1


def _is_in_network(address: str, network: str) -> bool:
    wanted, given = _network_of(network), _network_of(address)
    return wanted is not None and given is not None and given[0] & wanted[1] == wanted[0]


_ADDRESS_BITS = 32
_INTEGER = re.compile("[+-]?[0-9]{1,9}")

_AUTHENTICATED = frozenset({"digest", "x509"})
"""The schemes whose identities were proven, so that ``auth`` stands for them."""

_MATCHES: dict[str, Callable[[str, str], bool]] = {
    "digest": lambda who, wanted: who == wanted,
    "ip": _is_in_network,
    "x509": lambda who, wanted: who == wanted,
}

_IS_VALID: dict[str, Callable[[str], bool]] = {
    "digest": _is_user_and_digest,
    "ip": lambda name: _network_of(name) is not None,
    "x509": lambda name: "=" in name,
}
