"""Texts that people write: zoo.cfg, files of users, ACLs, addresses, names."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.targets.target import Target, text_in
from zoolet.model.acl_texts import AclError, format_acl, parse_acl
from zoolet.model.addresses import AddressError, parse_address
from zoolet.model.jaas import JaasError, parse_jaas
from zoolet.model.paths import reason_invalid
from zoolet.model.quotas import BYTES, COUNT, UNLIMITED, format_quota, parse_quota
from zoolet.server.cli.jvm_flags import read_flags
from zoolet.server.common.errors import ConfigError, ServerError
from zoolet.server.sasl.principals import NameRules, PrincipalError
from zoolet.server.sockets.der import DerError
from zoolet.server.sockets.distinguished_names import name_as_text, subject_in
from zoolet.server.zoo_cfg.properties import decode_properties
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.server.zoo_cfg.sasl_users import UsersError, UserSources
from zoolet.state_machine.networks import client_address, parse_network

_FOLDER = Path(tempfile.gettempdir()) / "zoolet-fuzz"
_DEVICES = ("/dev", "/proc", "/sys")


def _read_config(data: bytes) -> None:
    text = decode_properties(data)
    if any(name in text for name in _DEVICES):
        return  # the values of some keys are files that the server reads
    parse_config(text, _FOLDER / "zoo.cfg")


def _on_file(read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Return a function that writes the bytes to a file for ``read``."""

    def run(data: bytes) -> None:
        with tempfile.NamedTemporaryFile(prefix="zoolet-fuzz-") as file:
            file.write(data)
            file.flush()
            read(Path(file.name))

    return run


def _users(path: Path) -> None:
    UserSources({}, path, None, "Server", "").read()


def _jaas_users(path: Path) -> None:
    UserSources({}, None, path, "Server", "").read()


def _name_rules(data: bytes) -> None:
    rules, _, name = text_in(data).partition("\0")
    NameRules(rules, "EXAMPLE.COM").name_of(name)


def _acl(data: bytes) -> None:
    acl = parse_acl(text_in(data))
    assert parse_acl(format_acl(acl)) == acl


def _address(data: bytes) -> None:
    address = parse_address(text_in(data))
    assert parse_address(str(address)) == address


def _network(data: bytes) -> None:
    network = parse_network(text_in(data))
    assert network is None or 0 <= network.prefix_bits <= network.bits
    client_address(text_in(data))


def _quota(data: bytes) -> None:
    values = parse_quota(data)
    again = parse_quota(format_quota(values))
    assert all(again[key] == values.get(key, UNLIMITED) for key in (COUNT, BYTES))


_CONFIG = b"""tickTime=2000
dataDir=/fuzz
clientPort=2181
clientPortAddress=127.0.0.1
maxClientCnxns=60
4lw.commands.whitelist=*
admin.enableServer=true
admin.serverPort=8080
autopurge.snapRetainCount=3
autopurge.purgeInterval=1
server.1=127.0.0.1:2888:3888
authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider
security.auth_to_local=RULE:[1:$1] DEFAULT
ssl.clientAuth=need
"""
_JAAS = b"""Server {
    // users
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_super="admin-\\"secret"
    user_bob='bob';
};
"""


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content


def _named(oid: str, value: bytes) -> bytes:
    """Return one attribute of a name, in a set."""
    return _der(0x31, _der(0x30, _der(6, bytes.fromhex(oid)), _der(0x13, value)))


_NAME = _der(0x30, _named("550406", b"US"), _named("550403", b"Zoo, Keeper"))
_CERTIFICATE = _der(
    0x30, _der(0x30, _der(0xA0, _der(2, b"\2")), *[_der(0x30)] * 3, _NAME, _der(0x30), _NAME)
)

TARGETS = {
    "zoo-cfg": Target(_read_config, (ConfigError,), (_CONFIG,)),
    "jaas": Target(lambda data: parse_jaas(text_in(data)), (JaasError,), (_JAAS,)),
    "jaas-users": Target(_on_file(_jaas_users), (UsersError,), (_JAAS,)),
    "sasl-users": Target(
        _on_file(_users), (UsersError,), (b"bob:secret\nann:{MD5}515b307a36310dfadc416a41ad8c0d00",)
    ),
    "name-rules": Target(
        _name_rules,
        (PrincipalError,),
        (
            b"RULE:[2:$1@$0](.*@EXAMPLE\\.COM)s/@.*//g\nDEFAULT\0zk/host@EXAMPLE.COM",
            b"DEFAULT\0bob",
        ),
    ),
    "jvm-flags": Target(
        lambda data: read_flags([("JVMFLAGS", text_in(data))]),
        (ServerError,),
        (b"-Dzookeeper.tickTime=100 -Xmx1g '-Dzookeeper.x=a b'",),
    ),
    "acl": Target(_acl, (AclError,), (b"world:anyone:r,digest:u:h=:cdrwa,x509:CN=a,O=b:r",)),
    "address": Target(_address, (AddressError,), (b"127.0.0.1:2181", b"[::1]:2181", b"h", b"::1")),
    "network": Target(_network, (), (b"10.0.0.0/8", b"2001:db8::/32", b"fe80::1%eth0")),
    "quota": Target(_quota, (), (b"count=1,bytes=2=;byteHardLimit=3;countHardLimit=-1",)),
    "path": Target(lambda data: reason_invalid(text_in(data)), (), (b"/a/b", b"/a/../b", b"a//b/")),
    "certificate-name": Target(name_as_text, (DerError,), (_NAME,)),
    "certificate": Target(subject_in, (DerError,), (_CERTIFICATE,)),
}
