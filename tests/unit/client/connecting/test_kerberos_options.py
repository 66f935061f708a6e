"""The options of a login with Kerberos, as text."""

import random

import pytest

from zoolet.client.connecting.kerberos_options import KerberosOptions, parse_kerberos
from zoolet.client.connecting.options import ClientOptions, Credential, kerberos_of, new_session
from zoolet.client.connecting.settings import SettingsError, parse_credential


def test_no_options() -> None:
    assert parse_kerberos("") == KerberosOptions()
    assert KerberosOptions().text == ""
    assert parse_credential("kerberos:") == Credential("kerberos", "")


def test_all_options() -> None:
    text = "principal=bob@R,keytab=/k,service=zk,server=zk/a@R,realm=R,canonicalize=false"
    found = parse_kerberos(text)
    assert found == KerberosOptions("bob@R", "/k", "", "zk", "zk/a@R", "R", False)
    assert found.text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bob", "the form kerberos:NAME=VALUE"),
        ("bob:password", "the names are principal, keytab, cache"),
        ("user=bob", "the names are principal, keytab, cache"),
        ("keytab=", "the form kerberos:NAME=VALUE"),
        ("keytab=/k,", "the form kerberos:NAME=VALUE"),
        ("keytab=/k,cache=/c", "a keytab or a cache, not both"),
        ("canonicalize=no", "true or false"),
    ],
)
def test_what_is_no_login_with_kerberos(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_kerberos(text)
    with pytest.raises(SettingsError, match=message):
        parse_credential(f"kerberos:{text}")


@pytest.mark.parametrize("seed", range(20))
def test_random_options_are_read_as_they_were_written(seed: int) -> None:
    chance = random.Random(seed)
    values: dict[str, str] = {
        name: "".join(chance.choices("abc/@=:. ", k=chance.randint(1, 9)))
        for name in KerberosOptions._fields[:-1]
        if chance.random() < 0.5
    }
    values.pop(chance.choice(["keytab", "cache"]), None)
    options = KerberosOptions()._replace(**values, canonicalize=chance.random() < 0.5)
    assert parse_kerberos(options.text) == options


def test_a_client_has_one_login_with_sasl() -> None:
    both = (Credential("sasl", "bob:pw"), Credential("kerberos", ""))
    for auth in (both, both[:1] * 2, both[1:] * 2):
        with pytest.raises(ValueError, match="only one user of SASL"):
            kerberos_of(auth)
    assert kerberos_of((Credential("digest", "a:b"), both[0])) is None
    with pytest.raises(ValueError, match="the names are"):
        kerberos_of((Credential("kerberos", "x"),))
    kerberos = kerberos_of(both[1:])
    assert kerberos is not None
    new_session(ClientOptions(auth=both[1:]), "", kerberos)
