"""A queue with an ACL; workers and commands that log in or use TLS.

On zoolet and on Apache ZooKeeper.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.security import make_acl, make_digest_acl_credential

from tests.support.jobs import ROOT, TIMEOUT_S, WorkerProcess, next_result, numbered, write_tasks
from zoolet.cli import main
from zoolet.jobs import (
    AccessDeniedError,
    ConnectError,
    ConnectionSettings,
    Credential,
    Dispatcher,
    InvalidJobError,
    JobQueue,
    QueueSettings,
    RequestRefusedError,
    TlsFiles,
)
from zoolet.model.acl_texts import format_acl
from zoolet.testing import ReservedPort, ServerProcess
from zoolet.testing.servers.apache import ApacheServer
from zoolet.testing.servers.process import ExternalServer

ANN = Credential("digest", "ann:secret")
BOB = Credential("digest", "bob:other")
ANN_ID = make_digest_acl_credential("ann", "secret")
BOB_ID = make_digest_acl_credential("bob", "other")

Invoke = Callable[..., Result]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    return tmp_path


@pytest.fixture
def invoke(any_server: ExternalServer) -> Invoke:
    """Run ``zoolet jobs`` with options and an environment."""

    def run(*arguments: str, status: int = 0, **environment: str) -> Result:
        where = ("--server", any_server.hosts, "--queue", ROOT)
        result = CliRunner(env=environment).invoke(
            main, ["jobs", arguments[0], *where, *arguments[1:]]
        )
        assert result.exit_code == status, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


@pytest.fixture
def ann(any_server: ExternalServer) -> Iterator[Dispatcher]:
    """A dispatcher that has logged in as ann."""
    client = KazooClient(hosts=any_server.hosts, auth_data=[tuple(ANN)])
    client.start()
    JobQueue(client, ROOT).ensure_layout(QueueSettings(acl="auth::cdrwa"))
    client.stop()
    client.close()
    with Dispatcher(ConnectionSettings(any_server.hosts, auth=(ANN,)), ROOT) as dispatcher:
        yield dispatcher


def all_acls(server: ExternalServer, *credentials: Credential) -> dict[str, str]:
    """Return the ACL of each znode of the queue."""
    client = KazooClient(hosts=server.hosts, auth_data=[tuple(one) for one in credentials])
    client.start()
    found: dict[str, str] = {}
    paths = [ROOT]
    while paths:
        path = paths.pop()
        try:
            found[path] = format_acl(tuple(client.get_acls(path)[0]))
            paths += [f"{path}/{name}" for name in client.get_children(path)]
        except NoNodeError:
            continue  # it was an empty bucket, or a batch that may start now
    client.stop()
    client.close()
    return found


# --- The ACL of a queue


@pytest.mark.parametrize("shards", ["1", "3"])
def test_every_znode_of_a_queue_has_its_acl(
    any_server: ExternalServer, invoke: Invoke, tasks: Path, shards: str
) -> None:
    acl = f"digest:{ANN_ID}:cdrwa,digest:{BOB_ID}:cdrwa"
    invoke("create", "--acl", acl, "--shards", shards, ZOOLET_AUTH="digest:ann:secret")
    worker = WorkerProcess(any_server.hosts, tasks, environment={"ZOOLET_AUTH": "digest:bob:other"})
    try:
        # Ann submits, bob works: each needs what the other has created.
        with Dispatcher(ConnectionSettings(any_server.hosts, auth=(ANN,)), ROOT) as dispatcher:
            batch = dispatcher.submit_batch(numbered(5), name="night")
            assert sorted(next_result(batch).result for _ in range(5)) == list(range(5))
            after = dispatcher.submit_batch(numbered(2, n=1), after=batch)
            assert {next_result(after).result for _ in range(2)} == {1}
            found = all_acls(any_server, ANN)
    finally:
        worker.close()
    assert set(found.values()) == {acl}
    assert len(found) > 15
    for command in ("status", "list", "top", "export"):
        assert (
            ROOT in invoke(command, ZOOLET_AUTH="digest:ann:secret").output or command != "status"
        )
    assert "SUCCESSFUL" in invoke("status", ZOOLET_AUTH="digest:bob:other").output


def test_auth_stands_for_whoever_created_the_queue(
    any_server: ExternalServer, ann: Dispatcher, tasks: Path
) -> None:
    assert ann.queue.settings.acl == f"digest:{ANN_ID}:cdrwa"
    worker = WorkerProcess(
        any_server.hosts, tasks, environment={"ZOOLET_AUTH": "digest:bob:other\ndigest:ann:secret"}
    )
    try:
        batch = ann.submit_batch(numbered(3))
        for _ in range(3):
            next_result(batch)
        assert set(all_acls(any_server, ANN).values()) == {f"digest:{ANN_ID}:cdrwa"}
    finally:
        worker.close()


def test_what_the_root_stands_in_is_open_to_other_queues(
    any_server: ExternalServer, ann: Dispatcher
) -> None:
    assert ann.queue.settings.acl is not None
    with Dispatcher(any_server.hosts, "/jobs/other", create=True) as other:
        assert other.submit("m:f", "d", "1").names


@pytest.mark.parametrize(
    ("acl", "environment", "complaint"),
    [
        ("world:anyone", {}, "is not an ACL: write scheme:id:permissions"),
        ("auth::cdrwa", {}, "auth needs a login"),
        (f"digest:{BOB_ID}:cdrwa", {"ZOOLET_AUTH": "digest:ann:secret"}, "permission CREATE"),
    ],
)
def test_an_acl_that_cannot_be_is_a_clear_error(
    invoke: Invoke, acl: str, environment: dict[str, str], complaint: str
) -> None:
    assert complaint in invoke("create", "--acl", acl, status=1, **environment).output


def test_the_acl_of_a_queue_does_not_change(ann: Dispatcher) -> None:
    with pytest.raises(InvalidJobError, match="fixed when the queue is created"):
        ann.queue.configure(acl="world:anyone:r")
    assert ann.queue.configure(keep_done_jobs=7).acl == ann.queue.settings.acl


# --- Without the permission


def test_a_missing_permission_is_named_with_its_znode(
    any_server: ExternalServer, ann: Dispatcher
) -> None:
    [name] = ann.submit("m:f", "d", "1").names
    client = KazooClient(hosts=any_server.hosts)
    client.start()
    queue = JobQueue(client, ROOT)
    znodes = queue.layout.znodes
    for call, path, permission in (
        (lambda: queue.settings, f"{ROOT}/settings", "READ"),
        (queue.pause, f"{ROOT}/control", "READ"),
        (queue.workers, f"{ROOT}/workers", "READ"),
        (lambda: znodes.set(f"{ROOT}/control", b""), f"{ROOT}/control", "WRITE"),
        (lambda: znodes.delete(f"{ROOT}/unowned/{name}"), f"{ROOT}/unowned", "DELETE"),
        (lambda: znodes.delete_tree(f"{ROOT}/keys"), f"{ROOT}/keys", "READ"),
    ):
        with pytest.raises(AccessDeniedError) as caught:
            call()
        assert f"permission {permission} on the znode {path} is missing" in str(caught.value)
        assert "--auth" in str(caught.value)
    client.stop()
    client.close()


def test_who_may_only_read_looks_and_cannot_submit(
    invoke: Invoke,
) -> None:
    acl = f"digest:{ANN_ID}:cdrwa,digest:{BOB_ID}:r"
    invoke("create", "--acl", acl, "--auth", "digest:ann:secret")
    job = ("--task", "m:f", "--dataset", "d", "--group", "1")
    invoke("submit", *job, ZOOLET_AUTH="digest:ann:secret")
    bob = {"ZOOLET_AUTH": "digest:bob:other"}
    for command in ("status", "list", "top", "export"):
        assert "m:f" in invoke(command, **bob).output or command in {"status", "top"}
    for refused in (("submit", *job, "--no-reuse"), ("pause",), ("cancel", "--batch", "b")):
        output = invoke(*refused, status=1, **bob).output
        assert "is missing" in output or "no batch" in output
    assert "permission READ" in invoke("status", status=1).output


def test_a_job_that_a_worker_may_not_read_ends_no_worker(
    any_server: ExternalServer, tasks: Path
) -> None:
    """Whoever may create a job may give it an ACL of his own."""
    with Dispatcher(any_server.hosts, ROOT, create=True) as dispatcher:
        stranger = KazooClient(hosts=any_server.hosts, auth_data=[tuple(ANN)])
        stranger.start()
        [name] = dispatcher.submit("pipe_tasks:echo", "flights", "0", priority=9).names
        path = dispatcher.queue.layout.unowned(name)
        data, _ = stranger.get(path)
        stranger.delete(path)
        stranger.create(path, data, acl=[make_acl("digest", ANN_ID, all=True)])
        worker = WorkerProcess(any_server.hosts, tasks)
        try:
            batch = dispatcher.submit_batch(numbered(3))
            for _ in range(3):
                next_result(batch)
            assert worker.process.poll() is None
        finally:
            worker.close()
            stranger.stop()
            stranger.close()


# --- Logging in


@pytest.mark.parametrize("auth", ["digest", ":", "digest ann:secret", "sasl:a"])
def test_a_login_that_is_none_is_refused_and_not_shown(invoke: Invoke, auth: str) -> None:
    output = invoke("status", "--auth", auth, status=2).output
    assert "SCHEME:SECRET" in output or "sasl:NAME:PASSWORD" in output
    assert "secret" not in output


def test_a_login_that_the_server_refuses_is_a_clear_error(any_server: ExternalServer) -> None:
    settings = ConnectionSettings(any_server.hosts, auth=(Credential("nosuch", "x:hidden"),))
    with pytest.raises(ConnectError, match="refuses the login with nosuch") as caught:
        Dispatcher(settings, ROOT)
    assert "hidden" not in str(caught.value)
    assert "hidden" not in repr(settings)


def command_lines() -> str:
    """Return the command lines of all processes, as ps shows them (slim images have no ps)."""
    shown = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process has ended
            shown.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(shown)


def test_ps_shows_no_secret_of_a_worker(any_server: ExternalServer, tasks: Path) -> None:
    worker = WorkerProcess(
        any_server.hosts, tasks, environment={"ZOOLET_AUTH": "digest:ann:secret"}
    )
    try:
        with Dispatcher(any_server.hosts, ROOT) as dispatcher:
            assert dispatcher.queue.workers() == [worker.worker_id]
            for report in dispatcher.queue.worker_reports().values():
                assert "secret" not in json.dumps(report)
        shown = command_lines()
        assert ROOT in shown
        assert "ann:secret" not in shown
    finally:
        worker.close()


# --- TLS


@pytest.fixture(params=["zoolet", "apache"])
def secure(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, TlsFiles]]:
    """A server whose secure port needs clients' certificates; its address, and a client's files.

    Apache ZooKeeper reads keys in PKCS #8 only, and looks for the client's host in its certificate.
    """
    authority = trustme.CA()
    names = ("ca.pem", "own.pem", "key.pem", "store.pem")
    ca, own, key, store = (tmp_path / name for name in names)
    authority.cert_pem.write_to_path(ca)
    server = authority.issue_cert("localhost", "127.0.0.1")
    server_key = load_pem_private_key(server.private_key_pem.bytes(), None)
    store.write_bytes(
        server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + b"".join(pem.bytes() for pem in server.cert_chain_pems)
    )
    client = authority.issue_cert("localhost", "127.0.0.1", common_name="worker")
    for pem in client.cert_chain_pems:
        pem.write_to_path(own, append=True)
    client.private_key_pem.write_to_path(key)
    port = ReservedPort()
    settings: dict[str, object] = {
        "secureClientPort": port.number,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": store,
        "ssl.trustStore.location": ca,
        "ssl.clientAuth": "need",
    }
    running: ExternalServer
    if request.param == "zoolet":
        running = ServerProcess(tmp_path / "server", settings)
    else:
        settings["serverCnxnFactory"] = "org.apache.zookeeper.server.NettyServerCnxnFactory"
        jars = request.getfixturevalue("apache_jars")
        running = ApacheServer(tmp_path / "server", jars, settings)
    hosts, files = f"localhost:{port.number}", TlsFiles(ca, own, key)
    with running:
        # Apache ZooKeeper opens its secure port after the other one.
        first = KazooClient(hosts, use_ssl=True, ca=str(ca), certfile=str(own), keyfile=str(key))
        first.start(TIMEOUT_S)
        first.stop()
        first.close()
        yield hosts, files
    port.release()


def test_worker_dispatcher_and_commands_use_tls(secure: tuple[str, TlsFiles], tasks: Path) -> None:
    hosts, tls = secure
    assert tls.cert is not None
    environment = {
        "ZOOLET_SERVER": hosts,
        "ZOOLET_QUEUE": ROOT,
        "ZOOLET_TLS_CA": str(tls.ca),
        "ZOOLET_TLS_CERT": str(tls.cert),
        "ZOOLET_TLS_KEY": str(tls.key),
    }
    created = CliRunner(env=environment).invoke(main, ["jobs", "create", "--acl", "auth::cdrwa"])
    assert created.exit_code == 0, created.output
    assert "x509:CN=worker" in created.output
    worker = WorkerProcess(hosts, tasks, environment=environment)
    try:
        settings = ConnectionSettings(hosts, tls=tls)
        with Dispatcher(settings, ROOT) as dispatcher:
            assert next_result(dispatcher.submit_batch(numbered(1))).result == 0
    finally:
        worker.close()
    listed = CliRunner(env=environment).invoke(main, ["jobs", "list"])
    assert "SUCCESSFUL" in listed.output
    # The shell has the same settings.
    shell = subprocess.run(
        [sys.executable, "-m", "zoolet", "shell", "ls", ROOT],
        capture_output=True, text=True, timeout=TIMEOUT_S, env=os.environ | environment, check=True,
    )  # fmt: skip
    assert "settings" in shell.stdout
    where = ["--server", hosts, "--queue", ROOT, "--connect-timeout-ms", "5000"]
    for options, complaint in (
        ([], "Give --tls-ca"),
        (["--tls-ca", str(tls.ca)], "certificate"),
        (["--tls-cert", str(tls.cert)], "need --tls-ca"),
        (["--tls-ca", "/no/such"], "/no/such cannot be read"),
        (["--tls-ca", str(tls.ca), "--tls-key", str(tls.key)], "--tls-key needs --tls-cert"),
        (["--tls-ca", str(tls.key), "--tls-cert", str(tls.cert)], "certificate files"),
    ):
        refused = CliRunner().invoke(main, ["jobs", "status", *where, *options])
        assert refused.exit_code != 0
        assert complaint in refused.output, refused.output


def test_the_default_is_open(any_server: ExternalServer) -> None:
    with Dispatcher(any_server.hosts, ROOT, create=True) as dispatcher:
        assert dispatcher.queue.settings.acl is None
        dispatcher.submit("m:f", "d", "1")
    assert set(all_acls(any_server).values()) == {"world:anyone:cdrwa"}
    client = KazooClient(hosts=any_server.hosts)
    client.start()
    queue = JobQueue(client, "/q")
    with pytest.raises(RequestRefusedError, match="auth needs a login"):
        queue.ensure_layout(QueueSettings(acl="auth::r"))
    client.stop()
    client.close()


def test_no_log_shows_a_login(any_server: ExternalServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Dispatcher(ConnectionSettings(any_server.hosts, auth=(ANN,)), ROOT, create=True) as own:
        own.submit("m:f", "d", "1")
    assert "connected" in caplog.text
    assert "secret" not in caplog.text
