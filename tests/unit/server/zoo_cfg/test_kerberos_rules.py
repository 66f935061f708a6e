"""Where the keytab and the principal of a server are, and what is said if they cannot be used."""

from pathlib import Path

import pytest

from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import KerberosConfig
from zoolet.server.zoo_cfg.reading import parse_config

PROVIDER = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"
MODULE = "com.sun.security.auth.module.Krb5LoginModule required"
PRINCIPAL = "zookeeper/localhost@EXAMPLE.ORG"


@pytest.fixture
def keytab(tmp_path: Path) -> Path:
    path = tmp_path / "server.keytab"
    path.write_bytes(b"\5\2")
    return path


def kerberos_of(text: str) -> KerberosConfig | None:
    config = parse_config(f"dataDir=/data\nclientPort=2181\n{PROVIDER}{text}", Path("zoo.cfg"))
    return None if config.sasl is None else config.sasl.kerberos


def jaas_with(directory: Path, options: str) -> str:
    path = directory / "jaas.conf"
    path.write_text(f"Server {{ {options}; }};\n")
    return f"java.security.auth.login.config={path}\n"


@pytest.mark.parametrize("prefix", ["", "FILE:"])
def test_the_jaas_file_of_apache(tmp_path: Path, keytab: Path, prefix: str) -> None:
    options = (
        f'{MODULE} useKeyTab=true storeKey=true keyTab="{prefix}{keytab}" principal="{PRINCIPAL}"'
    )
    found = kerberos_of(jaas_with(tmp_path, options) + "java.security.krb5.conf=/krb5.conf\n")
    place = f"{tmp_path}/jaas.conf: section Server"
    assert found == KerberosConfig(keytab, PRINCIPAL, "/krb5.conf", place)


def test_keys_of_zoo_cfg_precede_the_jaas_file(tmp_path: Path, keytab: Path) -> None:
    text = f"zoolet.kerberosKeytab={keytab}\nzoolet.kerberosPrincipal=zk/a@R\n"
    options = f'{MODULE} useKeyTab=true keyTab="/other" principal="{PRINCIPAL}"'
    for more in ("", jaas_with(tmp_path, options)):
        found = kerberos_of(text + more)
        assert found == KerberosConfig(keytab, "zk/a@R", "", "zoo.cfg: zoolet.kerberosKeytab")


def test_a_section_with_kerberos_has_no_users_with_passwords(tmp_path: Path, keytab: Path) -> None:
    text = jaas_with(
        tmp_path,
        f'{MODULE} useKeyTab=true keyTab="{keytab}" principal="{PRINCIPAL}";'
        ' org.apache.zookeeper.server.auth.DigestLoginModule required user_bob="pw"',
    )
    config = parse_config(f"dataDir=/data\nclientPort=2181\n{PROVIDER}{text}", Path("zoo.cfg"))
    assert config.sasl is not None
    assert config.sasl.users.read() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "needs useKeyTab=true, keyTab=.FILE. and principal="),
        ('keyTab="KEYTAB" principal="zookeeper/a@R"', "needs useKeyTab=true"),
        ('useKeyTab=true principal="zookeeper/a@R"', "needs useKeyTab=true"),
        ('useKeyTab=true keyTab="KEYTAB"', "needs useKeyTab=true"),
        ('useKeyTab=true keyTab="KEYTAB" principal="bob@R"', "is not the principal of a server"),
        ('useKeyTab=true keyTab="KEYTAB" principal="/a@R"', "is not the principal of a server"),
        ('useKeyTab=true keyTab="/nowhere" principal="zookeeper/a"', "/nowhere cannot be read"),
        ('useKeyTab=true keyTab="TEXT" principal="zookeeper/a"', "is not a keytab: make one"),
    ],
)
def test_a_jaas_file_that_cannot_be_used(
    tmp_path: Path, keytab: Path, options: str, message: str
) -> None:
    text = tmp_path / "text"
    text.write_text("keys")
    named = options.replace("KEYTAB", str(keytab)).replace("TEXT", str(text))
    with pytest.raises(ConfigError, match=message):
        kerberos_of(jaas_with(tmp_path, f"{MODULE} {named}"))


@pytest.mark.parametrize(
    "line", ["zoolet.kerberosKeytab=/server.keytab", "zoolet.kerberosPrincipal=zookeeper/a@R"]
)
def test_the_keys_need_each_other(line: str) -> None:
    with pytest.raises(ConfigError, match="need each other: set both"):
        kerberos_of(f"{line}\n")
