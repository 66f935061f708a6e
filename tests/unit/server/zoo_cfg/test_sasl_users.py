"""Where the users of SASL are, and what is said of a file that cannot be used."""

import hashlib
from pathlib import Path

import pytest

from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import Config
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.server.zoo_cfg.sasl_users import UsersError, UserSources

PROVIDER = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"
DIGEST = "org.apache.zookeeper.server.auth.DigestLoginModule"


def parse(text: str) -> Config:
    return parse_config(f"dataDir=/data\nclientPort=2181\n{text}", Path("zoo.cfg"))


def users_of(text: str) -> dict[str, str | bytes]:
    config = parse(PROVIDER + text)
    assert config.sasl is not None
    return config.sasl.users.read()


@pytest.fixture
def jaas(tmp_path: Path) -> Path:
    path = tmp_path / "jaas.conf"
    path.write_text(
        f'Server {{ {DIGEST} required user_bob="one" user_super="two"; }};\n'
        f'Other {{ {DIGEST} required user_eve="three"; }};\n'
        "Kerberos { com.sun.security.auth.module.Krb5LoginModule required; };\n"
        "Odd { com.example.Module required; };\n"
    )
    return path


def test_users_are_in_three_places(tmp_path: Path, jaas: Path) -> None:
    file = tmp_path / "users"
    digest = hashlib.md5(b"ann:zk-sasl-md5:pw").hexdigest()
    file.write_text(f"# users\nbob:from the file: with a colon\nann:{{MD5}}{digest}\n\n")
    text = f"java.security.auth.login.config={jaas}\n"
    assert users_of(text) == {"bob": "one", "super": "two"}
    text += f"zoolet.saslUsersFile={file}\n"
    assert users_of(text) == {
        "bob": "from the file: with a colon",
        "super": "two",
        "ann": bytes.fromhex(digest),
    }
    text += "zoolet.saslPassword.bob=own\nSASLAuthenticationProvider.superPassword=boss\n"
    found = users_of(text)
    assert (found["bob"], found["super"]) == ("own", "boss")
    assert users_of(f"java.security.auth.login.config={jaas}\nsasl.serverconfig=Other\n") == {
        "eve": "three"
    }


def test_a_super_password_alone_makes_no_user() -> None:
    assert parse("SASLAuthenticationProvider.superPassword=boss\n").sasl is None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("Missing", "has no section Missing, only Kerberos, Odd, Other, Server"),
        ("Kerberos", "is for Kerberos, so it needs useKeyTab=true"),
        ("Odd", "has the Java class com.example.Module"),
    ],
)
def test_a_section_that_cannot_be_used(jaas: Path, section: str, message: str) -> None:
    text = f"java.security.auth.login.config={jaas}\nsasl.serverconfig={section}\n"
    with pytest.raises(ConfigError, match=message):
        parse(PROVIDER + text)


@pytest.mark.parametrize("line", ["bob", "bob:", ":secret"])
def test_a_line_that_names_no_user(tmp_path: Path, line: str) -> None:
    file = tmp_path / "users"
    file.write_text(f"ann:pw\n{line}\n")
    with pytest.raises(UsersError) as caught:
        UserSources({}, file, None, "", "").read()
    assert f"{file}:2: a line is name:password" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "users"
    sources = UserSources({}, file, None, "", "")
    with pytest.raises(UsersError, match="cannot be read: No such file"):
        sources.read()
    file.write_bytes(b"bob:\xff\n")
    with pytest.raises(UsersError, match="is not UTF-8"):
        sources.read()
    file.write_text("bob:a\nbob:b\n")
    with pytest.raises(UsersError, match="'bob' is there twice"):
        sources.read()
    file.write_text("# nobody\n")
    with pytest.raises(ConfigError, match="no users are in it"):
        parse(f"{PROVIDER}zoolet.saslUsersFile={file}\n")


def test_no_representation_and_no_setting_shows_a_password(jaas: Path) -> None:
    config = parse(
        f"{PROVIDER}java.security.auth.login.config={jaas}\nzoolet.saslPassword.bob=s3cret\n"
        "SASLAuthenticationProvider.superPassword=s3cret\n"
    )
    assert config.sasl is not None
    shown = f"{config!r} {config.text} {config.sasl!r} {config.warnings}"
    assert "s3cret" not in shown
    assert "zoolet.saslPassword.bob=(not shown)" in shown


def test_what_depends_on_the_provider() -> None:
    user = "zoolet.saslPassword.bob=pw\n"
    with pytest.raises(ConfigError, match="needs the scheme sasl: add authProvider"):
        parse(f"{user}sessionRequireClientSASLAuth=true\n")
    with pytest.raises(ConfigError, match="needs the scheme sasl: add authProvider"):
        parse(f"{user}enforce.auth.enabled=true\nenforce.auth.schemes=sasl\n")
    with pytest.raises(ConfigError, match="but there are no users"):
        parse(f"{PROVIDER}sessionRequireClientSASLAuth=true\n")
    assert "sasl" not in parse(user).rules.schemes
    assert any("ACLs with the scheme sasl are refused" in line for line in parse(user).warnings)
    required = parse(f"{PROVIDER}{user}sessionRequireClientSASLAuth=true\n")
    assert required.required_schemes == {"sasl"}
    assert "sasl" in required.rules.schemes


def test_super_users_and_failed_clients() -> None:
    text = f"{PROVIDER}zoolet.saslPassword.bob=pw\nsuperUser=bob\nsuperUser.1=eve\n"
    config = parse(f"{text}allowSaslFailedClients=true\n").sasl
    assert config is not None
    assert config.super_users == {"bob", "eve"}
    assert config.keeps_failed_clients
    both = parse(f"{text}allowSaslFailedClients=true\nsessionRequireClientSASLAuth=true\n").sasl
    assert both is not None
    assert not both.keeps_failed_clients
