"""Access control: which permissions an ACL gives to identities, and which ACLs a request may set.

Source: ``ZooKeeperServer.checkACL``, ``PrepRequestProcessor.fixupACL`` and the authentication
providers of Apache ZooKeeper.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from zoolet.model.acl import ACL, ANYONE, NULL_TEXT, OPEN_ACL, AclList, Id
from zoolet.model.codes import ErrorCode
from zoolet.model.errors import RequestError
from zoolet.state_machine.acl_table import EXACT_SCHEMES, OPEN, StoredAcl
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.networks import parse_network
from zoolet.state_machine.rules import Rules

PRINCIPAL: Final = re.compile("(?P<service>[^/@]*)(?:/(?P<host>[^/@]*))?@(?P<realm>[^/@]*)")
"""The name of a user of Kerberos: ``service/host@REALM`` or ``user@REALM`` (``KerberosName``)."""


class DigestRules(NamedTuple):
    """The settings of the digest scheme (``DigestAuthenticationProvider``).

    Attributes:
        algorithm: the hash algorithm, as hashlib names it.
        super_digest: ``user:digest`` of the superuser, to whom every ACL gives all permissions;
            "" if there is no superuser.
        is_enabled: whether the server supports the digest scheme.
    """

    algorithm: str = "sha1"
    super_digest: str = ""
    is_enabled: bool = True


def check(acl: StoredAcl, identities: Identities, permission: int, path: str = "") -> None:
    """Check that the ACL gives an identity a permission; raises RequestError (NO_AUTH)."""
    if acl is OPEN or acl.allows(identities, permission):
        return
    raise RequestError(ErrorCode.NO_AUTH, path)


def resolve(acl: AclList, identities: Identities, path: str, rules: Rules) -> AclList:
    """Return the list to store: no duplicates, and the client's identities instead of ``auth``.

    Raises RequestError (INVALID_ACL) if the list is empty or has more entries than
    ``Rules.most_acl_entries``, if the scheme of an entry is unknown or switched off, if an id is
    ill-formed, or if an entry is for ``auth`` and the client has not authenticated. Raises
    RequestError (MARSHALLING_ERROR) if an id is null.
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
    """Return the entries to store for one entry; an empty list if the entry is invalid."""
    scheme, name = entry.id
    if scheme == "auth":
        return [ACL(entry.perms, who) for who in identities.ids if who.scheme in _AUTHENTICATED]
    if name == NULL_TEXT and (scheme == ANYONE.scheme or scheme in rules.schemes):
        raise RequestError(ErrorCode.MARSHALLING_ERROR, path)
    if entry.id == ANYONE:
        return [entry]
    if scheme == "x509" and not rules.has_x509_subjects:
        return [entry] if scheme in rules.schemes else []
    return [entry] if scheme in rules.schemes and _IS_VALID[scheme](name) else []


def _check_nulls(entries: AclList, path: str) -> None:
    """Raise RequestError (MARSHALLING_ERROR) if Apache ZooKeeper cannot compare two entries.

    Apache ZooKeeper compares each entry with all earlier entries: first the permissions, then the
    scheme, then the id. If the scheme or id of the later entry is null, the comparison raises a
    NullPointerException, and the server replies with a marshalling error
    (``PrepRequestProcessor.removeDuplicates``, ``Id.equals``).
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
    """Return the identities that the credentials prove; an empty tuple if they prove none.

    The scheme digest accepts any ``user:password``: ACLs decide which users have permissions.
    """
    if scheme == "digest" and digests.is_enabled and credentials is not None:
        digest = digest_of(credentials, digests.algorithm)
        proven = Id("digest", digest)
        return (Id("super", ""), proven) if digest == digests.super_digest else (proven,)
    if scheme == "ip":
        return (Id("ip", address),)
    return ()


def digest_of(credentials: bytes, algorithm: str = "sha1") -> str:
    """Return the id of ``user:password`` in an ACL: ``user:base64(hash(user:password))``.

    Source: ``DigestAuthenticationProvider.generateDigest``. Its default algorithm is SHA-1.
    """
    text = credentials.decode("utf-8", "replace")
    # Imported when a client authenticates: a server without such clients needs no OpenSSL.
    import base64  # noqa: PLC0415
    import hashlib  # noqa: PLC0415

    digest = hashlib.new(algorithm, text.encode(), usedforsecurity=False).digest()
    return f"{text.split(':', 1)[0]}:{base64.b64encode(digest).decode()}"


def user_of(scheme: str, name: str) -> str:
    """Return the user name in an identity; of a digest, the part before the first colon."""
    if scheme == "digest":
        return name.split(":", 1)[0]
    return name if scheme == "ip" or scheme in EXACT_SCHEMES else ""


def hide_digests(acl: AclList) -> AclList:
    """Return the list with each digest replaced by ``x``, for clients without ADMIN permission."""
    return tuple(
        ACL(entry.perms, Id("digest", entry.id.id.split(":", 1)[0] + ":x"))
        if entry.id.scheme == "digest" and ":" in entry.id.id
        else entry
        for entry in acl
    )


def _is_user_and_digest(name: str) -> bool:
    """Return whether the name has two parts; like Java's split, ignore empty parts at the end."""
    parts = name.split(":")
    while parts and not parts[-1]:
        parts.pop()
    return len(parts) == 2


_AUTHENTICATED = EXACT_SCHEMES
"""The schemes whose identities a client proves; ``auth`` in an ACL means these identities."""

_IS_VALID: dict[str, Callable[[str], bool]] = {
    "digest": _is_user_and_digest,
    "ip": lambda name: parse_network(name) is not None,
    "x509": lambda name: "=" in name,
    "sasl": lambda name: "@" not in name or PRINCIPAL.fullmatch(name) is not None,
}
