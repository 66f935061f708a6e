"""Access control: which identities an ACL lets do what, and which ACLs may be set.

Source: ``ZooKeeperServer.checkACL``, ``PrepRequestProcessor.fixupACL`` and the authentication
providers of Apache ZooKeeper.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import NamedTuple

from zoolet.model.acl import ACL, ANYONE, NULL_TEXT, OPEN_ACL, AclList, Id
from zoolet.model.codes import ErrorCode
from zoolet.model.errors import RequestError
from zoolet.state_machine.acl_table import EXACT_SCHEMES, OPEN, StoredAcl
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.networks import parse_network
from zoolet.state_machine.rules import Rules


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


def check(acl: StoredAcl, identities: Identities, permission: int, path: str = "") -> None:
    """Return if one of ``identities`` has one of the permissions; raises RequestError (NO_AUTH)."""
    if acl is OPEN or acl.allows(identities, permission):
        return
    raise RequestError(ErrorCode.NO_AUTH, path)


def resolve(acl: AclList, identities: Identities, path: str, rules: Rules) -> AclList:
    """Return the list to be stored: without repetitions, ``auth`` replaced by who asks.

    Raises RequestError: INVALID_ACL if an entry names a scheme that is unknown or switched off, or
    an ill-formed id; if ``auth`` stands in it and nobody has authenticated; if the list is empty,
    or has more entries than ``Rules.most_acl_entries``. MARSHALLING_ERROR if an id is null.
    """
    if acl is OPEN_ACL:
        return acl
    unique = dict.fromkeys(acl)
    for entry in unique:
        if NULL_TEXT in entry.id:
            _check_nulls(acl, path)
            break
    resolved: list[ACL] = []
    for entry in unique:
        own = _resolve_entry(entry, identities, path, rules)
        resolved += own
        if not own or len(resolved) > rules.most_acl_entries:
            raise RequestError(ErrorCode.INVALID_ACL, path)
    if not resolved:
        raise RequestError(ErrorCode.INVALID_ACL, path)
    return tuple(resolved)


def _resolve_entry(entry: ACL, identities: Identities, path: str, rules: Rules) -> list[ACL]:
    """Return what one entry stands for; empty: it is invalid."""
    scheme, name = entry.id
    if scheme == "auth":
        return [ACL(entry.perms, who) for who in identities.ids if who.scheme in _AUTHENTICATED]
    if name == NULL_TEXT and (scheme == ANYONE.scheme or scheme in rules.schemes):
        raise RequestError(ErrorCode.MARSHALLING_ERROR, path)
    is_valid = entry.id == ANYONE or (scheme in rules.schemes and _IS_VALID[scheme](name))
    return [entry] if is_valid else []


def _check_nulls(entries: AclList, path: str) -> None:
    """Raise RequestError (MARSHALLING_ERROR) if two entries cannot be compared.

    Apache ZooKeeper compares each entry with those before it, first the permissions, then the
    scheme, then the id. A null of its own on the way is a NullPointerException, which it answers
    with a marshalling error (``PrepRequestProcessor.removeDuplicates``, ``Id.equals``).
    """
    perms_before = set[int]()
    schemes_before = set[tuple[int, str]]()
    for perms, (scheme, name) in entries:
        if scheme == NULL_TEXT:
            fails = perms in perms_before
        else:
            fails = name == NULL_TEXT and (perms, scheme) in schemes_before
        if fails:
            raise RequestError(ErrorCode.MARSHALLING_ERROR, path)
        perms_before.add(perms)
        schemes_before.add((perms, scheme))


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
    return name if scheme == "ip" or scheme in EXACT_SCHEMES else ""


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


_AUTHENTICATED = EXACT_SCHEMES
"""The schemes whose identities were proven, so that ``auth`` stands for them."""

_IS_VALID: dict[str, Callable[[str], bool]] = {
    "digest": _is_user_and_digest,
    "ip": lambda name: parse_network(name) is not None,
    "x509": lambda name: "=" in name,
}
