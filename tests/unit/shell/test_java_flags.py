"""The login in a JAAS file that Java's options name."""

from pathlib import Path

import pytest

from zoolet.client.connecting.jaas_login import LoginFileError
from zoolet.client.connecting.options import Credential
from zoolet.shell.java_flags import krb5_conf_of_java, with_login_of_java

MODULE = "org.apache.zookeeper.server.auth.DigestLoginModule"


@pytest.fixture
def jaas(tmp_path: Path) -> Path:
    path = tmp_path / "jaas file.conf"
    path.write_text(
        f'Client {{ {MODULE} required username="bob" password="s3cret"; }};\n'
        f'Other {{ {MODULE} required username="ann" password="pw"; }};\n'
        f"Odd {{ {MODULE} required username=bob; }};\n"
        f'Colon {{ {MODULE} required username="a:b" password="pw"; }};\n'
    )
    return path


def test_the_section_client_is_read(jaas: Path) -> None:
    environment = {"CLIENT_JVMFLAGS": f"-Xmx1g '-Djava.security.auth.login.config={jaas}'"}
    digest = Credential("digest", "a:b")
    assert with_login_of_java((digest,), environment) == (digest, Credential("sasl", "bob:s3cret"))


def test_another_section(jaas: Path) -> None:
    environment = {
        "JVMFLAGS": f"'-Djava.security.auth.login.config={jaas}'",
        "CLIENT_JVMFLAGS": "-Dzookeeper.sasl.clientconfig=Other",
    }
    assert with_login_of_java((), environment) == (Credential("sasl", "ann:pw"),)


def test_what_precedes_the_file(jaas: Path) -> None:
    flags = f"'-Djava.security.auth.login.config={jaas}'"
    login = (Credential("sasl", "eve:x"),)
    assert with_login_of_java(login, {"CLIENT_JVMFLAGS": flags}) == login
    is_off = {"CLIENT_JVMFLAGS": f"{flags} -Dzookeeper.sasl.client=false"}
    assert with_login_of_java((), is_off) == ()
    assert with_login_of_java((), {}) == ()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("Missing", "has no section Missing with .* its sections are: Client, Colon, Odd, Other"),
        ("Odd", "has no section Odd with"),
        ("Colon", "a user name must not have a colon"),
    ],
)
def test_a_section_that_cannot_be_used(jaas: Path, section: str, message: str) -> None:
    flags = f"'-Djava.security.auth.login.config={jaas}' -Dzookeeper.sasl.clientconfig={section}"
    with pytest.raises(LoginFileError, match=message) as caught:
        with_login_of_java((), {"CLIENT_JVMFLAGS": flags})
    assert "s3cret" not in str(caught.value)


def test_files_and_variables_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "jaas.conf"
    environment = {"CLIENT_JVMFLAGS": f"-Djava.security.auth.login.config={path}"}
    with pytest.raises(LoginFileError, match="cannot be read: No such file"):
        with_login_of_java((), environment)
    path.write_bytes(b"\xff")
    with pytest.raises(LoginFileError, match="is not UTF-8"):
        with_login_of_java((), environment)
    path.write_text("Client {")
    with pytest.raises(LoginFileError, match="the file ends"):
        with_login_of_java((), environment)
    with pytest.raises(LoginFileError, match="CLIENT_JVMFLAGS cannot be read"):
        with_login_of_java((), {"CLIENT_JVMFLAGS": "'open"})


KERBEROS = "com.sun.security.auth.module.Krb5LoginModule required"
CACHE = "useTicketCache=true"
CANONICALIZE = "zookeeper.sasl.client.canonicalize.hostname"


@pytest.mark.parametrize(
    ("options", "flags", "text"),
    [
        (CACHE, "", ""),
        (
            f'{CACHE} ticketCache="/tmp/c" principal=bob',
            "",
            "principal=bob,cache=/tmp/c",
        ),
        (
            f'{CACHE} ticketCache="/c" useKeyTab=true keyTab="FILE:/k" principal="bob@R"',
            "",
            "principal=bob@R,keytab=/k",
        ),
        (
            CACHE,
            f"-Dzookeeper.sasl.client.username=zk -D{CANONICALIZE}=false",
            "service=zk,canonicalize=false",
        ),
        (
            CACHE,
            "-Dzookeeper.server.principal=zk/a -Dzookeeper.server.realm=R",
            "server=zk/a,realm=R",
        ),
        (CACHE, "-Dzookeeper.server.principal=zk/a@R", "server=zk/a@R"),
    ],
)
def test_kerberos(tmp_path: Path, options: str, flags: str, text: str) -> None:
    path = tmp_path / "jaas.conf"
    path.write_text(f"Client {{ {KERBEROS} {options}; }};\n")
    environment = {"CLIENT_JVMFLAGS": f"-Djava.security.auth.login.config={path} {flags}"}
    assert with_login_of_java((), environment) == (Credential("kerberos", text),)
    before = (Credential("kerberos", "principal=ann"),)
    assert with_login_of_java(before, environment) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "needs useKeyTab=true or useTicketCache=true"),
        ("useKeyTab=true", 'keyTab="FILE" is necessary'),
        ('useKeyTab=true keyTab="/a,b"', "a comma in a value"),
    ],
)
def test_a_section_of_kerberos_that_cannot_be_used(
    tmp_path: Path, options: str, message: str
) -> None:
    path = tmp_path / "jaas.conf"
    path.write_text(f"Client {{ {KERBEROS} {options}; }};\n")
    with pytest.raises(LoginFileError, match=message):
        with_login_of_java((), {"JVMFLAGS": f"-Djava.security.auth.login.config={path}"})


def test_the_krb5_conf_of_java() -> None:
    assert krb5_conf_of_java({"CLIENT_JVMFLAGS": "-Djava.security.krb5.conf=/a/krb5.conf"}) == (
        "/a/krb5.conf"
    )
    assert krb5_conf_of_java({}) == ""
