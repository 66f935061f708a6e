"""The login in a JAAS file that Java's options name."""

from pathlib import Path

import pytest

from zoolet.client.connecting.options import Credential
from zoolet.client.connecting.sasl import LoginFileError
from zoolet.shell.java_flags import with_login_of_java

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
