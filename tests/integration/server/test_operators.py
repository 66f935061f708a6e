"""The admin endpoint and the metrics with HTTPS, logins and roles."""

import base64
import contextlib
import http.client
import json
import re
import select
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support.quick_hashes import quick_hash
from tests.support.waiting import wait_until
from zoolet.server.sockets.distinguished_names import subject_in
from zoolet.testing import ReservedPort, ServerProcess

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
PASSWORDS = {"ops": "full-secret", "prom": "read-secret"}


class Files(NamedTuple):
    """The certificates and the users of a test; ``other`` is signed by an unknown CA."""

    server: Path
    authority: Path
    ops: Path
    viewer: Path
    stranger: Path
    other: Path
    users: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("files")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(directory / "authority.pem")

    def issue(name: str, by: trustme.CA = ca) -> Path:
        path = directory / f"{name}.pem"
        issued = by.issue_cert("localhost", "127.0.0.1", common_name=name)
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    users = directory / "users"
    users.write_text(
        f"full password ops {quick_hash(PASSWORDS['ops'])}\n"
        f"read-only password prom {quick_hash(PASSWORDS['prom'])}\n"
    )
    names = ("server", "ops", "viewer", "stranger")
    made = {name: issue(name) for name in names}
    lines = "".join(
        f"{role} certificate {subject_of(made[name])}\n"
        for name, role in (("ops", "full"), ("viewer", "read-only"))
    )
    with users.open("a") as file:
        file.write(lines)
    other = issue("other", trustme.CA())
    return Files(**made, authority=directory / "authority.pem", other=other, users=users)


def subject_of(path: Path) -> str:
    """Return the subject of a certificate as the server's log writes it."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return subject_in(certificate.public_bytes(serialization.Encoding.DER))


class Operator:
    """A client of the operators' ports."""

    def __init__(self, server: ServerProcess, ports: Mapping[str, int], authority: Path) -> None:
        self.server = server
        self.ports = ports
        self._authority = authority

    def ask(
        self,
        path: str,
        user: str = "",
        *,
        password: str | None = None,
        own: Path | None = None,
        port: str = "admin",
        https: bool = True,
        method: str = "GET",
        body: bytes | None = None,
        authorization: str = "",
    ) -> tuple[int, str, Mapping[str, str]]:
        """Return the status, the body and the headers of an answer."""
        headers = {"Authorization": authorization} if authorization else {}
        if user:
            given = PASSWORDS[user] if password is None else password
            encoded = base64.b64encode(f"{user}:{given}".encode()).decode()
            headers["Authorization"] = f"Basic {encoded}"
        connection = (
            http.client.HTTPSConnection(
                "127.0.0.1", self.ports[port], timeout=60, context=self._context(own)
            )
            if https
            else http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=60)
        )
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode("latin-1")
            return answer.status, text, {key.lower(): value for key, value in answer.getheaders()}

    def status(self, path: str, user: str = "", **options: Any) -> int:
        return self.ask(path, user, **options)[0]

    def _context(self, own: Path | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._authority)
        if own is not None:
            context.load_cert_chain(own)
        return context


@contextlib.contextmanager
def operator(directory: Path, files: Files, settings: Mapping[str, object]) -> Iterator[Operator]:
    reserved = {"admin": ReservedPort(), "metrics": ReservedPort()}
    ports = {name: port.number for name, port in reserved.items()}
    base = {
        "admin.enableServer": "true",
        "admin.serverPort": ports["admin"],
        "admin.rateLimiterIntervalInMS": 0,
        "metricsProvider.className": PROMETHEUS,
        "metricsProvider.httpHost": "127.0.0.1",
        "metricsProvider.httpPort": ports["metrics"],
        "zoolet.admin.failureDelayMs": 0,
    }
    with ServerProcess(directory / "server", {**base, **settings}) as server:
        yield Operator(server, ports, files.authority)
        assert "Traceback" not in server.log


def own_stores(files: Files) -> dict[str, object]:
    return {
        "zoolet.admin.keyStore.location": files.server,
        "zoolet.admin.trustStore.location": files.authority,
    }


@pytest.fixture(scope="module")
def secured(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """HTTPS and roles on both ports."""
    settings = {
        **own_stores(files),
        "admin.forceHttps": "true",
        "zoolet.metricsHttps": "true",
        "zoolet.admin.usersFile": files.users,
    }
    with operator(tmp_path_factory.mktemp("secured"), files, settings) as running:
        yield running


READ_ONLY = ("/commands", "/commands/", "/commands/stat", "/commands/dump", "/commands/mntr")
FULL = ("/commands/srst", "/commands/crst", "/commands/orst", "/commands/stmk?traceMask=1")


def test_without_a_login_nothing_is_shown(secured: Operator) -> None:
    paths = [*READ_ONLY, *FULL, "/commands/snapshot", "/commands/unknown", "/", "/elsewhere"]
    for path in paths:
        status, text, headers = secured.ask(path)
        assert (status, text) == (401, "log in with a name and a password\n"), path
        assert headers["www-authenticate"] == 'Basic realm="zoolet", charset="UTF-8"'
    assert secured.status("/metrics", port="metrics") == 401


def test_the_role_read_only(secured: Operator, files: Files) -> None:
    ways: list[dict[str, Any]] = [{"user": "prom"}, {"own": files.viewer}]
    for way in ways:
        for path in READ_ONLY:
            assert secured.status(path, **way) == 200, path
        for path in [*FULL, "/commands/snapshot", "/commands/unknown"]:
            status, text, _ = secured.ask(path, **way)
            assert (status, text) == (403, "this needs the role full\n"), path
        restore: dict[str, Any] = {"method": "POST", "body": b"x" * 100_000, **way}
        assert secured.status("/commands/restore", **restore) == 403
        found = secured.ask("/metrics", port="metrics", **way)
        assert (found[0], "znode_count" in found[1]) == (200, True)


def test_the_role_full(secured: Operator, files: Files) -> None:
    ways: list[dict[str, Any]] = [{"user": "ops"}, {"own": files.ops}]
    for way in ways:
        for path in [*READ_ONLY, *FULL]:
            assert secured.status(path, **way) == 200, path
        assert secured.status("/metrics", port="metrics", **way) == 200
        assert json.loads(secured.ask("/commands/gtmk", **way)[1])["tracemask"] == 1


def test_snapshot_and_restore_need_the_role_and_no_identity(
    secured: Operator, files: Files
) -> None:
    """The body of a restore waits for the check of the password."""
    status, text, headers = secured.ask("/commands/snapshot", "ops")
    assert (status, len(text)) == (200, int(headers["snapshot_size"]))
    snapshot = text.encode("latin-1")
    ways: list[dict[str, Any]] = [{"user": "ops"}, {"own": files.ops}]
    for way in ways:
        status, text, _ = secured.ask(
            "/commands/restore",
            method="POST",
            body=snapshot,
            **way,
        )
        assert (status, json.loads(text)["error"]) == (200, None)


def test_apaches_identity_is_no_login(secured: Operator) -> None:
    for header in (
        "digest super:test",
        "ip",
        "Bearer x",
        "Basic",
        "Basic ?",
        "Basic w7+/",
        "Basic é",
    ):
        assert secured.status("/commands/snapshot", authorization=header) == 401, header


def test_failed_logins_are_logged_and_counted(tmp_path: Path, files: Files) -> None:
    with operator(tmp_path, files, {"zoolet.admin.usersFile": files.users}) as running:
        for name, password in (("ops", "wrong"), ("ops", ""), ("prom", PASSWORDS["ops"])):
            status, text, headers = running.ask(
                "/commands/stat", name, password=password, https=False
            )
            assert (status, text) == (401, "the name or the password is wrong\n")
            assert "www-authenticate" in headers
        unknown = "Basic " + base64.b64encode(b"nobody\nx:y").decode()
        assert running.status("/commands/stat", authorization=unknown, https=False) == 401
        mntr = json.loads(running.ask("/commands/mntr", "prom", https=False)[1])
        assert mntr["auth_failed_count"] == 4
        log = running.server.log
        assert log.count("failed to log in") == 1  # the others are left out for a while
        assert "127.0.0.1 failed to log in as 'ops' for /commands/stat" in log
        assert not any(password in log for password in (*PASSWORDS.values(), "wrong"))


def test_a_login_after_a_right_one_needs_the_right_password_again(secured: Operator) -> None:
    assert secured.status("/commands/stat", "ops") == 200
    assert secured.status("/commands/stat", "ops") == 200
    assert secured.status("/commands/stat", "ops", password="full-secreT") == 401
    assert secured.status("/commands/stat", "ops", password=PASSWORDS["prom"]) == 401


def test_many_logins_at_the_same_time(secured: Operator) -> None:
    def log_in(number: int) -> int:
        return secured.status("/commands/stat", "ops", password=f"wrong{number}")

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(log_in, range(6))) == {401}
    assert secured.server.ask("ruok") == "imok"


def test_a_certificate_of_an_unknown_authority(secured: Operator, files: Files) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secured.ask("/commands/stat", "ops", own=files.other)
    assert secured.status("/commands/stat", own=files.stranger) == 401
    assert f"the certificate {subject_of(files.stranger)!r} has no role" in secured.server.log
    assert secured.status("/commands/stat", "prom", own=files.stranger) == 200


def test_a_password_may_give_more_than_a_certificate(secured: Operator, files: Files) -> None:
    assert secured.status("/commands/srst", "ops", own=files.viewer) == 200
    assert secured.status("/commands/stat", "ops", own=files.viewer, password="x") == 401


def test_plain_http_gets_no_answer(secured: Operator) -> None:
    for port in ("admin", "metrics"):
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            secured.ask("/commands/stat", "ops", https=False, port=port)
    assert "plain bytes arrive on the TLS port" in secured.server.log


def test_a_failed_login_waits_for_its_delay(tmp_path: Path, files: Files) -> None:
    """Nothing more is read meanwhile: the second request on the connection gets no answer."""
    settings = {"zoolet.admin.usersFile": files.users, "zoolet.admin.failureDelayMs": 3_600_000}
    with (
        operator(tmp_path, files, settings) as running,
        socket.create_connection(("127.0.0.1", running.ports["admin"]), timeout=20) as client,
    ):
        wrong = base64.b64encode(b"ops:wrong").decode()
        head = "GET /commands/ruok HTTP/1.1\r\nHost: x\r\n"
        client.sendall(f"{head}Authorization: Basic {wrong}\r\n\r\n{head}\r\n".encode())
        wait_until(lambda: "failed to log in" in running.server.log, "the failed login")
        assert running.status("/commands/ruok", "prom", https=False) == 200
        assert not select.select([client], [], [], 0)[0]


def test_users_are_read_again(tmp_path: Path, files: Files) -> None:
    users = tmp_path / "users"
    users.write_text(files.users.read_text())
    with operator(tmp_path, files, {"zoolet.admin.usersFile": users}) as running:
        assert running.status("/commands/srst", "ops", https=False) == 200
        users.write_text(f"read-only password ops {quick_hash('new')}\n")
        wait_until(lambda: "read the operators again" in running.server.log, "the change")
        assert running.status("/commands/stat", "ops", https=False) == 401
        assert running.status("/commands/stat", "ops", https=False, password="new") == 200
        assert running.status("/commands/srst", "ops", https=False, password="new") == 403
        users.write_text("nonsense\n")
        wait_until(lambda: "the operators stay as they are" in running.server.log, "the error")
        assert running.status("/commands/stat", "ops", https=False, password="new") == 200


def test_certificates_are_read_again(tmp_path: Path, files: Files) -> None:
    server = tmp_path / "server.pem"
    server.write_bytes(files.other.read_bytes())
    settings = {"zoolet.admin.keyStore.location": server, "admin.forceHttps": "true"}
    with operator(tmp_path, files, settings) as running:
        with pytest.raises(ssl.SSLCertVerificationError):
            running.status("/commands/ruok")
        server.write_bytes(files.server.read_bytes())
        wait_until(lambda: "certificates of the admin endpoint again" in running.server.log, "it")
        assert running.status("/commands/ruok") == 200


def test_one_port_for_both(tmp_path: Path, files: Files) -> None:
    with operator(
        tmp_path, files, {**own_stores(files), "admin.portUnification": "true"}
    ) as running:
        assert running.status("/commands/ruok", https=False) == 200
        assert running.status("/commands/ruok", https=True) == 200
        assert running.status("/metrics", port="metrics", https=False) == 200
        with socket.create_connection(("127.0.0.1", running.ports["admin"])):
            assert running.status("/commands/ruok", https=False) == 200
        assert running.server.stop() == 0


def test_apaches_stores_and_certificates_for_all(tmp_path: Path, files: Files) -> None:
    """Without a file of users, each accepted certificate may do what everybody may do otherwise."""
    settings = {
        "ssl.quorum.keyStore.location": files.server,
        "ssl.quorum.trustStore.location": files.authority,
        "admin.forceHttps": "true",
        "admin.needClientAuth": "true",
    }
    with operator(tmp_path, files, settings) as running:
        assert running.status("/commands/srst", own=files.stranger) == 200
        assert running.status("/commands/snapshot", own=files.stranger) == 401
        for own in (None, files.other):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                running.ask("/commands/stat", own=own)
        assert "is ignored" not in running.server.log


def test_without_settings_everything_is_open_as_before(tmp_path: Path, files: Files) -> None:
    with operator(tmp_path, files, {}) as running:
        assert running.status("/commands/srst", https=False) == 200
        assert running.status("/metrics", port="metrics", https=False) == 200
        assert running.status("/commands/snapshot", https=False) == 401
        allowed = running.ask("/commands/snapshot", https=False, authorization="digest a:b")
        assert allowed[0] == 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"admin.forceHttps": "true"},
            "admin.forceHttps=true needs zoolet.admin.keyStore.location",
        ),
        ({"zoolet.metricsHttps": "true"}, "zoolet.metricsHttps=true needs zoolet.admin.keyStore"),
        ({"zoolet.admin.keyStore.location": "/a.pem"}, "has no effect without HTTPS"),
        (
            {
                "zoolet.admin.keyStore.location": "/a.pem",
                "admin.forceHttps": "true",
                "admin.needClientAuth": "true",
            },
            "but the admin endpoint trusts no CA: set zoolet.admin.trustStore.location",
        ),
        (
            {"zoolet.admin.keyStore.location": "/missing.pem", "admin.forceHttps": "true"},
            "zoolet.admin.keyStore.location: /missing.pem cannot be used",
        ),
        ({"zoolet.admin.usersFile": "/missing"}, "zoolet.admin.usersFile: /missing cannot be read"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    port = ReservedPort()
    base = {"admin.enableServer": "true", "admin.serverPort": port.number}
    with pytest.raises(RuntimeError) as found:
        ServerProcess(tmp_path / "server", {**base, **settings}).start()
    assert message in str(found.value)


def test_passwords_in_plain_text_are_warned_of(tmp_path: Path, files: Files) -> None:
    settings = {"zoolet.admin.usersFile": files.users, "metricsProvider.httpHost": "0.0.0.0"}
    with operator(tmp_path, files, settings) as running:
        log = running.server.log
        assert "passwords for the metrics can be read on the network" in log
        assert "passwords for the admin endpoint" not in log


def test_the_command_prints_a_line(tmp_path: Path, files: Files) -> None:
    command = [sys.executable, "-m", "zoolet", "admin-user", "eve", "--role", "full"]
    made = subprocess.run(
        command, input="eves secret\nrest", capture_output=True, text=True, timeout=60, check=True
    )
    assert re.fullmatch(r"full password eve scrypt:\S+\n", made.stdout)
    users = tmp_path / "users"
    users.write_text(made.stdout)
    with operator(tmp_path, files, {"zoolet.admin.usersFile": users}) as running:
        assert running.status("/commands/srst", https=False) == 401
        basic = base64.b64encode(b"eve:eves secret").decode()
        assert running.status("/commands/srst", https=False, authorization=f"Basic {basic}") == 200


@pytest.mark.parametrize(
    ("name", "text"), [("a:b", "x\n"), ("a b", "x\n"), ("", "x\n"), ("a", "\n")]
)
def test_the_command_refuses(name: str, text: str) -> None:
    command = [sys.executable, "-m", "zoolet", "admin-user", name]
    made = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (made.returncode, made.stdout) == (1, "")
    assert "empty" in made.stderr
