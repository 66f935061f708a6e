"""Who may do what."""

import pytest

from zoolet.model.acl import ACL, ANYONE, NULL_TEXT, OPEN_ACL, READ_ONLY_ACL, AclList, Id
from zoolet.model.codes import ErrorCode, Permission
from zoolet.model.errors import RequestError
from zoolet.state_machine import access
from zoolet.state_machine.acl_table import StoredAcl
from zoolet.state_machine.identities import NOBODY, Identities
from zoolet.state_machine.rules import Rules

ADA = Id("digest", "ada:hash")
HOME = Id("ip", "127.0.0.1")
RULES = Rules()


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
    assert StoredAcl(acl).allows(Identities([HOME, ADA]), permission) is allowed


def test_auth_stands_for_whoever_asks() -> None:
    acl = (ACL(31, Id("auth", "")), ACL(1, ANYONE), ACL(1, ANYONE))
    assert access.resolve(acl, Identities([HOME, ADA]), "/a", RULES) == (
        ACL(31, ADA),
        ACL(1, ANYONE),
    )


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
        access.resolve(acl, Identities([HOME]), "/a", RULES)
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


@pytest.mark.parametrize(
    ("schemes", "entry"),
    [
        ({"ip", "digest"}, Id("x509", "CN=ada")),
        ({"ip", "x509"}, Id("digest", "ada:hash")),
        ({"digest"}, Id("ip", "127.0.0.1")),
    ],
)
def test_a_scheme_without_a_provider_is_refused(schemes: set[str], entry: Id) -> None:
    acl = (ACL(31, entry),)
    everything = Rules(schemes=frozenset({"ip", "digest", "x509"}))
    assert access.resolve(acl, NOBODY, "/a", everything) == acl
    with pytest.raises(RequestError) as refused:
        access.resolve(acl, NOBODY, "/a", Rules(schemes=frozenset(schemes)))
    assert refused.value.code is ErrorCode.INVALID_ACL


@pytest.mark.parametrize("name", ["spiffe://example.org/worker", "10.0.0.1", "CN=ada", ""])
def test_an_id_of_x509_must_be_a_subject_unless_alternative_names_are_ids(name: str) -> None:
    acl = (ACL(31, Id("x509", name)),)
    rules = Rules(schemes=frozenset({"x509"}))
    assert access.resolve(acl, NOBODY, "/a", rules._replace(has_x509_subjects=False)) == acl
    if "=" in name:
        assert access.resolve(acl, NOBODY, "/a", rules) == acl
        return
    for without in (rules, Rules(has_x509_subjects=False)):
        with pytest.raises(RequestError) as refused:
            access.resolve(acl, NOBODY, "/a", without)
        assert refused.value.code is ErrorCode.INVALID_ACL


def entries_of(count: int) -> AclList:
    return tuple(ACL(1, Id("digest", f"u{number}:x")) for number in range(count))


@pytest.mark.parametrize(
    ("acl", "num_identities", "is_valid"),
    [
        (entries_of(10), 0, True),
        (entries_of(11), 0, False),
        ((*entries_of(10), *entries_of(10)), 0, True),  # repetitions are left out first
        ((ACL(1, Id("auth", "")),), 10, True),
        ((ACL(1, Id("auth", "")),), 11, False),
        ((ACL(1, Id("auth", "")), ACL(2, Id("auth", ""))), 6, False),
        ((*entries_of(5), ACL(1, Id("auth", ""))), 6, False),
    ],
)
def test_a_list_may_have_as_many_entries_as_the_limit(
    acl: AclList, num_identities: int, is_valid: bool
) -> None:
    rules = Rules(most_acl_entries=10)
    asker = Identities(Id("digest", f"a{number}:x") for number in range(num_identities))
    if is_valid:
        assert len(access.resolve(acl, asker, "/a", rules)) == 10
        return
    with pytest.raises(RequestError) as refused:
        access.resolve(acl, asker, "/a", rules)
    assert refused.value.code is ErrorCode.INVALID_ACL


def test_an_identity_that_is_known_already_changes_nothing() -> None:
    identities = Identities([HOME, ADA])
    assert identities.with_((ADA,)) is identities
    more = identities.with_((Id("digest", "eve:hash"), ADA))
    assert more.ids == (HOME, ADA, Id("digest", "eve:hash"))
    assert (identities.num_proven, more.num_proven) == (1, 2)


@pytest.mark.parametrize(
    ("acl", "code"),
    [
        ((ACL(1, Id(NULL_TEXT, "x")),), ErrorCode.INVALID_ACL),
        ((ACL(1, Id("world", NULL_TEXT)),), ErrorCode.MARSHALLING_ERROR),
        ((ACL(1, Id("digest", NULL_TEXT)),), ErrorCode.MARSHALLING_ERROR),
        ((ACL(1, Id("ip", NULL_TEXT)),), ErrorCode.MARSHALLING_ERROR),
        ((ACL(1, Id("x509", NULL_TEXT)),), ErrorCode.INVALID_ACL),
        ((ACL(1, Id("unknown", NULL_TEXT)),), ErrorCode.INVALID_ACL),
        ((ACL(1, ANYONE), ACL(1, Id(NULL_TEXT, "x"))), ErrorCode.MARSHALLING_ERROR),
        ((ACL(2, ANYONE), ACL(1, Id(NULL_TEXT, "x"))), ErrorCode.INVALID_ACL),
        ((ACL(1, Id("auth", NULL_TEXT)),) * 2, ErrorCode.MARSHALLING_ERROR),
        ((ACL(1, Id("auth", NULL_TEXT)), ACL(1, Id("auth", ""))), None),
        ((ACL(1, Id("auth", "")), ACL(1, Id("auth", NULL_TEXT))), ErrorCode.MARSHALLING_ERROR),
        ((ACL(1, Id("auth", NULL_TEXT)),), None),
    ],
)
def test_nulls_in_a_list_are_refused_as_java_s_comparisons_do(
    acl: AclList, code: ErrorCode | None
) -> None:
    asker = Identities([ADA])
    if code is None:
        assert set(access.resolve(acl, asker, "/a", RULES)) == {ACL(1, ADA)}
        return
    with pytest.raises(RequestError) as refused:
        access.resolve(acl, asker, "/a", RULES)
    assert refused.value.code is code
