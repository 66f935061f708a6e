"""Who may do what."""

import pytest

from zoolet.core import access
from zoolet.model.acl import ACL, ANYONE, OPEN_ACL, READ_ONLY_ACL, AclList, Id
from zoolet.model.codes import ErrorCode, Permission
from zoolet.model.errors import RequestError

ADA = Id("digest", "ada:hash")
HOME = Id("ip", "127.0.0.1")


@pytest.mark.parametrize(
    ("acl", "permission", "allowed"),
    [
        (OPEN_ACL, Permission.ADMIN, True),
        (READ_ONLY_ACL, Permission.READ, True),
        (READ_ONLY_ACL, Permission.WRITE, False),
        ((ACL(31, ADA),), Permission.WRITE, True),
        ((ACL(31, Id("digest", "eve:hash")),), Permission.READ, False),
        ((ACL(1, Id("ip", "127.0.0.0/8")),), Permission.READ, True),
        ((ACL(1, Id("ip", "127.0.0.1")),), Permission.READ, True),
        ((ACL(1, Id("ip", "10.0.0.0/8")),), Permission.READ, False),
        ((ACL(1, Id("unknown", "x")),), Permission.READ, False),
        ((ACL(16, ADA),), Permission.READ | Permission.ADMIN, True),
    ],
)
def test_one_entry_that_allows_is_enough(
    acl: AclList, permission: Permission, allowed: bool
) -> None:
    assert access.is_allowed(acl, [HOME, ADA], permission) is allowed


def test_auth_stands_for_whoever_asks() -> None:
    acl = (ACL(31, Id("auth", "")), ACL(1, ANYONE), ACL(1, ANYONE))
    assert access.resolve(acl, [HOME, ADA], "/a") == (ACL(31, ADA), ACL(1, ANYONE))


@pytest.mark.parametrize(
    "acl",
    [
        (),
        (ACL(31, Id("auth", "")),),
        (ACL(1, Id("unknown", "x")),),
        (ACL(1, Id("world", "someone")),),
        (ACL(1, Id("digest", "no colon")),),
        (ACL(1, Id("ip", "not an address")),),
        (ACL(1, Id("ip", "1.2.3.4/99")),),
    ],
)
def test_lists_that_cannot_be_are_refused(acl: AclList) -> None:
    with pytest.raises(RequestError) as refused:
        access.resolve(acl, [HOME], "/a")
    assert refused.value.code is ErrorCode.INVALID_ACL


def test_digests_are_the_original_s() -> None:
    """The administrator's guide gives this example of DigestAuthenticationProvider."""
    assert access.digest_of(b"super:test") == "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
    proven = Id("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
    assert access.authenticate("digest", b"super:test", "", access.DigestRules()) == (proven,)
    assert access.authenticate("nonsense", b"", "", access.DigestRules()) == ()


def test_digests_are_hidden_from_those_who_only_read() -> None:
    hidden = access.hide_digests((ACL(1, ADA), ACL(2, ANYONE)))
    assert hidden == (ACL(1, Id("digest", "ada:x")), ACL(2, ANYONE))
