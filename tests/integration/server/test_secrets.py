"""No secret of zoo.cfg is in an answer, a page, a log, an error or the table of processes."""

import base64
import contextlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.support.quick_hashes import quick_hash
from tests.support.rawclient import RawClient
from tests.support.sasl import PROVIDER, log_in
from zoolet.model.codes import OpCode
from zoolet.server.operator.admin import FULL_COMMANDS, READ_ONLY_COMMANDS
from zoolet.server.operator.four_letter_words import WORDS
from zoolet.testing import ReservedPort, ServerProcess
from zoolet.wire.jute import INT, pack_buffer, pack_ustring

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"


class Secrets(NamedTuple):
    """Where the secrets of a test are, and what they are."""

    settings: dict[str, object]
    words: tuple[str, ...]


def key_store(directory: Path, password: str) -> Path:
    """Write a key store whose private key has a password."""
    issued = trustme.CA().issue_cert("localhost")
    pem = issued.private_key_pem.bytes()
    key = serialization.load_pem_private_key(pem, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    path = directory / "server.pem"
    path.write_bytes(encrypted + issued.cert_chain_pems[0].bytes())
    return path


def make_secrets(directory: Path, *, by_reference: bool) -> Secrets:
    """Return settings with a secret in each place that can have one."""
    values = {
        "zoolet.sessionSecret": "session-s3cret-abcdef",
        "ssl.keyStore.password": "store-s3cret",
        "zoolet.saslPassword.bob": "bob-s3cret",
        "SASLAuthenticationProvider.superPassword": "super-s3cret",
        "DigestAuthenticationProvider.superDigest": "super:s3cret-digest",
        "zoolet.quorumPassword": "quorum-s3cret",
        "ssl.quorum.keyStore.password": "members-s3cret",
        "ssl.trustStore.password": "trust-s3cret",
        "an.unknown.pasword": "unknown-s3cret",
    }
    written: dict[str, object] = dict(values)
    if by_reference:
        for number, (name, value) in enumerate(values.items()):
            path = directory / f"secret{number}"
            path.write_text(value + "\n")
            written[name] = f"${{file:{path}}}"
    users = directory / "sasl-users"
    users.write_text("eve:eve-s3cret\n")
    operators = directory / "operators"
    operators.write_text(f"full password ops {quick_hash('ops-s3cret')}\n")
    hashed = operators.read_text().split(":")[-1].strip()
    stores = {
        "secureClientPort": ReservedPort().number,
        "ssl.keyStore.location": key_store(directory, "store-s3cret"),
        "ssl.clientAuth": "none",
        "zoolet.saslUsersFile": users,
        "zoolet.admin.usersFile": operators,
        "zoolet.saslFailureDelayMs": 0,
        "zoolet.admin.failureDelayMs": 0,
    }
    words = (*values.values(), "eve-s3cret", "ops-s3cret", hashed)
    return Secrets({**PROVIDER, **written, **stores}, words)


def pages(port: int, paths: list[str]) -> Iterator[str]:
    """Yield each page, with a right and with a wrong password."""
    for path in paths:
        for password in ("ops-s3cret", "wrong"):
            encoded = base64.b64encode(f"ops:{password}".encode()).decode()
            headers = {"Authorization": f"Basic {encoded}"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    yield answer.read().decode("latin-1")
            except urllib.error.HTTPError as error:
                yield error.read().decode("latin-1")


def processes() -> str:
    """Return the command lines of all processes."""
    found = subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True)
    return found.stdout


def check(texts: Mapping[str, str], words: tuple[str, ...]) -> None:
    for where, text in texts.items():
        for word in words:
            assert word not in text, f"{word} is in {where}"


@pytest.mark.parametrize("by_reference", [False, True], ids=["written", "referred-to"])
def test_a_running_server_shows_no_secret(tmp_path: Path, *, by_reference: bool) -> None:
    secrets = make_secrets(tmp_path, by_reference=by_reference)
    admin, metrics = ReservedPort(), ReservedPort()
    settings = {
        **secrets.settings,
        "admin.enableServer": "true",
        "admin.serverPort": admin.number,
        "metricsProvider.className": PROMETHEUS,
        "metricsProvider.httpHost": "127.0.0.1",
        "metricsProvider.httpPort": metrics.number,
        "audit.enable": "true",
        "zoolet.audit.onFailure": "stop",
    }
    with ServerProcess(tmp_path / "server", settings) as server:
        logins = {"bob": "bob-s3cret", "eve": "eve-s3cret", "nobody": "x"}
        for name, password in logins.items():
            with RawClient(server.port) as client:
                client.connect()
                assert (log_in(client, name, password).err == 0) is (name != "nobody")
        with RawClient(server.port) as client:
            client.connect()
            body = INT.pack(0) + pack_ustring("digest") + pack_buffer(b"super:digest-s3cret")
            assert client.request(OpCode.AUTH, body, xid=-4).err == 0
            client.create("/x")
        commands = sorted([*READ_ONLY_COMMANDS, *FULL_COMMANDS, "unknown"])
        paths = ["/commands", *(f"/commands/{name}" for name in commands)]
        texts = {
            f"the word {word.decode()}": server.ask(word.decode())
            for word in sorted(WORDS - {b"stmk"})
        }
        texts |= {f"page {n}": text for n, text in enumerate(pages(admin.number, paths))}
        texts["the metrics"] = "".join(pages(metrics.number, ["/metrics"]))
        texts["the processes"] = processes()
        texts["the status"] = str(server.run_command("status"))
        texts["print-cmd"] = str(server.run_command("print-cmd"))
        assert len(texts) > 50
        server.stop()
        texts["the log"] = server.log
        audit = server.directory / "data" / "zookeeper_audit.log"
        texts["the audit log"] = audit.read_text()
        check(texts, (*secrets.words, "digest-s3cret"))
        assert "user=127.0.0.1,super" in texts["the audit log"]


FAILING = {
    "the wrong password of the key store": {"ssl.keyStore.password": "bad-s3cret"},
    "a short session secret": {"zoolet.sessionSecret": "s3cret"},
    "no provider for sasl": {"sessionRequireClientSASLAuth": "true", "authProvider.1": "x"},
    "an unknown authentication provider": {"authProvider.2": "com.example.Provider"},
    "a missing variable": {"zoolet.sessionSecret": "${env:ZOOLET_MISSING}"},
    "a reference that only secrets may have": {"tickTime": "${env:HOME}"},
    "a wrong number": {"tickTime": "many"},
    "a missing users file": {"zoolet.admin.usersFile": "/missing"},
}


@pytest.mark.parametrize("name", FAILING)
def test_a_server_that_does_not_start_shows_no_secret(tmp_path: Path, name: str) -> None:
    secrets = make_secrets(tmp_path, by_reference=False)
    port = ReservedPort()
    base = {"admin.enableServer": "true", "admin.serverPort": port.number}
    server = ServerProcess(tmp_path / "server", base | secrets.settings | FAILING[name])
    started = server.run_command("start-foreground")
    assert started.returncode == 1
    background = server.run_command("start")
    assert background.returncode == 1
    texts = {"start-foreground": str(started), "start": str(background)}
    texts |= {
        path.name: path.read_text(errors="replace") for path in (tmp_path / "server").rglob("*.out")
    }
    check(texts, (*secrets.words, "bad-s3cret"))


def test_a_secret_in_the_environment(tmp_path: Path) -> None:
    """``start`` passes the variable on; ``status`` and ``stop`` do not need it."""
    settings = {"zoolet.sessionSecret": "${env:ZOOLET_TEST_SECRET}"}
    server = ServerProcess(tmp_path / "server", settings)

    def run(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "zoolet", "server", command, str(server.config_path)],
            capture_output=True,
            env={**os.environ, **variables},
            text=True,
            timeout=60,
            check=False,
        )

    refused = run("start")
    assert refused.returncode == 1
    assert "the environment variable ZOOLET_TEST_SECRET is not set" in refused.stderr
    started = run("start", ZOOLET_TEST_SECRET="0123456789-s3cret")
    try:
        assert started.returncode == 0, started.stderr
        assert "s3cret" not in server.ask("conf") + processes() + str(started)
        assert run("status").returncode == 0
        again = run("restart")
        assert again.returncode == 1
        assert "is not set" in again.stderr
        assert run("status").returncode == 0  # a restart that cannot start does not stop
    finally:
        stopped = run("stop")
    assert stopped.returncode == 0
    with contextlib.suppress(FileNotFoundError):
        assert "s3cret" not in (server.directory / "data" / "zookeeper.out").read_text()


def test_flags_of_java_are_not_shown(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server")
    flags = (
        "-Dzookeeper.zoolet.sessionSecret=long-enough-s3cret -Dother=x-s3cret --password=y-s3cret"
    )
    found = subprocess.run(
        [sys.executable, "-m", "zoolet", "server", "print-cmd", str(server.config_path)],
        capture_output=True,
        env={**os.environ, "SERVER_JVMFLAGS": flags},
        text=True,
        timeout=60,
        check=False,
    )
    assert "ignored" in found.stderr
    assert "s3cret" not in str(found)
