"""A realm of Kerberos for tests: a KDC on the loopback interface, principals, keytabs, tickets.

It uses MIT's programs from Debian. The KDC listens on 127.0.0.1 only.
"""

import contextlib
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from tests.support.rawclient import RawClient, RawReply
from tests.support.sasl import sasl, token_of
from tests.support.waiting import wait_until
from zoolet.testing.servers.apache import QUICK_START

REALM: Final = "EXAMPLE.ORG"
SERVER: Final = f"zookeeper/localhost@{REALM}"
KERBEROS_MODULE: Final = "com.sun.security.auth.module.Krb5LoginModule"
PASSWORD: Final = "the password of bob"
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_PROGRAMS: Final = ("krb5kdc", "kadmin.local", "kdb5_util", "kinit", "kvno")
_CLOCK_LIBRARY: Final = "faketime/libfaketime.so.1"
_KRB5_CONF: Final = """\
[libdefaults]
 default_realm = {realm}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 kdc_timesync = 0
 udp_preference_limit = 1
 forwardable = true
[realms]
 {realm} = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 localhost = {realm}
"""
_KDC_CONF: Final = """\
[kdcdefaults]
 kdc_listen = ""
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {realm} = {{
  database_name = {directory}/principals
  key_stash_file = {directory}/stash
  acl_file = {directory}/acl
  max_life = 1d
  max_renewable_life = 7d
 }}
[logging]
 kdc = FILE:{directory}/kdc.log
"""


def require_kerberos() -> None:
    """Skip the test where the KDC or the Python package is missing."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing or not _clock_library():
        pytest.skip(
            "needs a KDC: install Debian's packages krb5-kdc, krb5-admin-server, krb5-user and"
            " faketime"
        )
    if importlib.util.find_spec("gssapi") is None:
        pytest.skip("needs the Python package gssapi: run make kerberos")


def _clock_library() -> str:
    """Return the path of the library that gives programs another clock; "" if it is missing."""
    found = [str(path) for path in Path("/usr/lib").glob(f"*/{_CLOCK_LIBRARY}")]
    return found[0] if found else ""


def clock(offset: str) -> dict[str, str]:
    """Return the environment variables of a program whose clock is wrong by, for example, "-2h".

    Debian's program `faketime` stays between the test and the program, and ends without it.
    """
    return {"LD_PRELOAD": _clock_library(), "FAKETIME": offset} if offset else {}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Realm:
    """A realm with its KDC."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._port = free_port()
        self.krb5_conf = directory / "krb5.conf"
        self.environment = {
            "PATH": _PATH,
            "KRB5_CONFIG": str(self.krb5_conf),
            "KRB5_KDC_PROFILE": str(directory / "kdc.conf"),
            "KRB5CCNAME": str(directory / "no-cache"),
        }
        self._kdc: subprocess.Popen[bytes] | None = None
        values = {"realm": REALM, "port": self._port, "directory": directory}
        self.krb5_conf.write_text(_KRB5_CONF.format(**values))
        (directory / "kdc.conf").write_text(_KDC_CONF.format(**values))
        self.run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")

    def run(self, *command: str, text: str = "", **environment: str) -> str:
        """Run a program of Kerberos; return its output."""
        done = subprocess.run(
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
            env=self.environment | environment,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}")
        return done.stdout

    def start(self, offset: str = "") -> None:
        """Start the KDC; its clock is wrong by ``offset``, like "-2h"."""
        self._kdc = subprocess.Popen(
            ["krb5kdc", "-n"],
            env=os.environ | self.environment | clock(offset),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._serves, "the KDC")

    def _serves(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._kdc is not None:
            self._kdc.terminate()
            self._kdc.wait(10)
            self._kdc = None

    @contextlib.contextmanager
    def silent_kdc(self) -> Iterator[None]:
        """Let the port of the KDC, which is stopped, accept connections and never reply."""
        with socket.create_server(("127.0.0.1", self._port)):
            yield

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def add(self, principal: str, password: str = "") -> None:
        """Add a principal with a password, or with a random key."""
        secret = f'-pw "{password}"' if password else "-randkey"
        self.run("kadmin.local", "-q", f"addprinc {secret} {principal}")

    def write_keytab(self, path: Path, *principals: str, renews_key: bool = False) -> Path:
        """Add the keys of principals to a keytab; with ``renews_key``, they get new keys."""
        option = "" if renews_key else "-norandkey"
        for principal in principals:
            self.run("kadmin.local", "-q", f"ktadd -k {path} {option} {principal}")
        return path

    def log_in(
        self, cache: Path, user: str = "bob", password: str = PASSWORD, *options: str
    ) -> Path:
        """Write the tickets of a user to a cache."""
        self.run("kinit", "-c", str(cache), *options, user, text=f"{password}\n")
        return cache

    def log_in_with(self, cache: Path, keytab: Path, user: str) -> Path:
        """Write the tickets of a user with a keytab to a cache."""
        self.run("kinit", "-c", str(cache), "-k", "-t", str(keytab), user)
        return cache


def realm_in(directory: Path) -> Iterator[Realm]:
    """Yield a realm with a server, the users bob, ann and super, and other principals."""
    require_kerberos()
    before = os.environ.get("KRB5_CONFIG")
    with Realm(directory) as realm:
        for user in ("bob", "ann", "super", "root", "bob/admin"):
            realm.add(user, PASSWORD)
        for service in (SERVER, f"other/localhost@{REALM}", f"bob/localhost@{REALM}"):
            realm.add(service)
        os.environ["KRB5_CONFIG"] = str(realm.krb5_conf)
        yield realm
    if before is None:
        del os.environ["KRB5_CONFIG"]
    else:
        os.environ["KRB5_CONFIG"] = before


def jaas_of_server(directory: Path, keytab: Path, more: str = "") -> Path:
    """Write the JAAS file of a server."""
    path = directory / "jaas.conf"
    path.write_text(
        f"Server {{ {KERBEROS_MODULE} required useKeyTab=true storeKey=true useTicketCache=false"
        f' keyTab="{keytab}" principal="{SERVER}"; }};\n{more}'
    )
    return path


def java_options(realm: Realm, jaas: Path) -> tuple[str, ...]:
    """Return the options of a Java program with Kerberos."""
    return (
        "-Xmx512m",
        *QUICK_START,
        f"-Djava.security.auth.login.config={jaas}",
        f"-Djava.security.krb5.conf={realm.krb5_conf}",
    )


def without_expiry(cache: Path) -> None:
    """Let the tickets in a cache, which expired an hour ago, look valid for the client.

    The times in the cache are the client's copy: the ticket itself, which the server reads, does
    not change.
    """
    now_s = int(time.time())
    data = bytearray(cache.read_bytes())
    for position in range(len(data) - 3):
        (value,) = struct.unpack_from(">I", data, position)
        if now_s - 3700 < value < now_s - 3500:
            struct.pack_into(">I", data, position, now_s + 3600)
    cache.write_bytes(data)


class GssClient:
    """The client's side of GSSAPI, step by step, so that a test can send anything."""

    def __init__(self, cache: Path, server: str = SERVER, *, is_mutual: bool = True) -> None:
        import gssapi  # noqa: PLC0415 -- not installed everywhere

        self._raw: Any = gssapi.raw
        self._kerberos = gssapi.MechType.kerberos
        self._credentials = gssapi.Credentials(usage="initiate", store={"ccache": str(cache)})
        self._name = gssapi.Name(server, gssapi.NameType.kerberos_principal)
        flags = gssapi.RequirementFlag
        self._flags = [flags.integrity, *([flags.mutual_authentication] if is_mutual else [])]
        self._context: Any = None

    def step(self, token: bytes | None = None) -> bytes:
        """Return the next token of the ticket's exchange."""
        done = self._raw.init_sec_context(
            self._name,
            self._credentials,
            self._context,
            self._kerberos,
            self._flags,
            input_token=token,
        )
        self._context = done.context
        return done.token or b""

    def layers(self, token: bytes) -> bytes:
        """Return the layers that the server offers."""
        message: bytes = self._raw.unwrap(self._context, token).message
        return message

    def wrap(self, message: bytes, *, is_secret: bool = False) -> bytes:
        token: bytes = self._raw.wrap(self._context, message, confidential=is_secret).message
        return token


def offer_of(raw: RawClient, client: GssClient) -> bytes:
    """Exchange the ticket; return the layers that the server offers."""
    reply = sasl(raw, client.step())
    token = token_of(reply)
    assert (reply.err, token is None) == (0, False), reply
    assert token is not None
    if token[:1] == b"\x60":  # the server has authenticated itself
        client.step(token)
        token = token_of(sasl(raw, b""))
        assert token is not None
    return client.layers(token)


def log_in(
    raw: RawClient, client: GssClient, name: str = "", choice: bytes = b"\1\0\0\0"
) -> RawReply:
    """Log in with a ticket; return the last reply."""
    offer_of(raw, client)
    return sasl(raw, client.wrap(choice + name.encode()))
