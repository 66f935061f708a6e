"""The names in ACLs: rules of Kerberos, as `KerberosName` of Apache ZooKeeper applies them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.server.sasl.principals import NameRules, PrincipalError


@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("bob", "bob"),
        ("a/b", "a/b"),
        ("bob@REALM", "bob@REALM"),
        ("zk/host@REALM", "zk/host@REALM"),
        ("bob@OTHER", "bob@OTHER"),
        ("", ""),
    ],
)
def test_without_settings_a_name_stays_as_it_is(login: str, name: str) -> None:
    assert NameRules().name_of(login) == name
    assert NameRules(default_realm="REALM").name_of(login) == name


def test_hosts_and_realms_are_left_out() -> None:
    def name(login: str, *, host: bool, realm: bool) -> str:
        rules = NameRules(default_realm="REALM", removes_host=host, removes_realm=realm)
        return rules.name_of(login)

    assert name("zk/host@REALM", host=True, realm=False) == "zk@REALM"
    assert name("zk/host@REALM", host=False, realm=True) == "zk/host"
    assert name("zk/host@REALM", host=True, realm=True) == "zk"
    # No rule is for another realm, so the name stays as it is.
    assert name("zk/host@OTHER", host=True, realm=True) == "zk/host@OTHER"


@pytest.mark.parametrize(
    ("rules", "login", "name"),
    [
        ("RULE:[1:$1@$0](.*@OTHER)s/@.*//\nDEFAULT", "bob@OTHER", "bob"),
        ("RULE:[2:$1](zk)s/zk/zookeeper/", "zk/host@X", "zookeeper"),
        ("RULE:[2:$1;$2](^zk;.*$)s/;.*$//", "zk/host@X", "zk"),
        ("RULE:[1:$1]s/o/0/g", "foo@X", "f00"),
        ("RULE:[1:$1]s/o/0/", "foo@X", "f0o"),
        ("RULE:[1:$1](b.*)", "ann@X", "ann@X"),
        ("RULE:[1:$1@$0]", "ann@X", "ann@X"),
        ("RULE:[1:$1]s/(a)(n)/$2$1/", "ann@X", "nan"),
        (r"RULE:[1:$1]s/(a)/\$1\g/", "ann@X", "$1gnn"),
        ("RULE:[1:$1]s/(a)/$10/", "ann@X", "a0nn"),
        ("RULE:[1:$1]s/(a)|(n)/<$2>/g", "ann@X", "<><n><n>"),
    ],
)
def test_rules(rules: str, login: str, name: str) -> None:
    found = NameRules(rules, "REALM", removes_host=True, removes_realm=True)
    assert found.name_of(login) == name


@pytest.mark.parametrize("login", ["a@b@c", "a@b/c", "a/b/c@d"])
def test_a_malformed_name(login: str) -> None:
    with pytest.raises(PrincipalError, match="is not a name like"):
        NameRules().name_of(login)


INVALID = (
    "NONE",
    "DEFAULT x",
    "RULE:[1:$1](",
    "RULE:[1:$1]s/(/x/",
    "RULE:[1:$1]s/(a)/$2/",
    "RULE:[1:$1]s/a/$x/",
    "RULE:[1:$1]s/a/x\\/",
)


@pytest.mark.parametrize("rules", INVALID)
def test_invalid_rules(rules: str) -> None:
    with pytest.raises(PrincipalError):
        NameRules(rules)


@given(st.text(st.sampled_from("ab/@."), max_size=12))
def test_any_login_has_a_name_or_an_error(login: str) -> None:
    rules = NameRules("RULE:[1:$1]s/a/b/g DEFAULT", removes_realm=True)
    try:
        name = rules.name_of(login)
    except PrincipalError:
        assert "@" in login
    else:
        assert isinstance(name, str)
