"""From one server of zoolet to three Apache ZooKeepers and back, under clients and jobs.

The clients know all addresses. The output has the time without a reply of each client. At the end
every session, watch, ephemeral, znode and job must be as without the moves.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from tests.support.ensemble import ApacheEnsemble, CreatedMember
from tests.support.jobs import (
    ROOT,
    WorkerProcess,
    all_results,
    assert_done_once,
    next_result,
    numbered,
    write_tasks,
)
from tests.support.live_clients import LiveClient, LiveKazoo, LiveZoolet
from tests.support.waiting import wait_until
from zoolet.client import (
    Client,
    ClientOptions,
    CreateMode,
    Credential,
    NoAuthError,
    QuotaExceededError,
)
from zoolet.data.comparing import differences
from zoolet.data.directory_reader import machine_of
from zoolet.jobs import Dispatcher
from zoolet.state_machine.machine import StateMachine
from zoolet.testing import ServerProcess

SETTINGS = {
    "tickTime": 1500,
    "extendedTypesEnabled": "true",
    "enforceQuota": "true",
    "znode.container.checkIntervalMs": 200,
}
SESSION_MS = 25_000
CLIENTS_OF_A_KIND = 3
JOBS = 90
JOB_S = 0.1
WATCHED = "/watched"
LONG_TTL_MS = 3_600_000
SHORT_TTL_MS = 300
LOGIN = Credential("digest", "user:password")
FIXED = ("/fixed", "/zookeeper/quota")
"""The subtrees that nobody changes during the moves."""


class ImportedServer(ServerProcess):
    """zoolet on the directory that ``zoolet ensemble import`` has made."""

    def __init__(self, scratch: Path, home: Path) -> None:
        super().__init__(scratch)
        self.config_path = home / "zoo.cfg"
        self.port = self.config.client_port


def ensemble_command(*arguments: object) -> str:
    """Run ``zoolet ensemble`` and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "zoolet", "ensemble", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def session(hosts: str) -> Iterator[Client]:
    """Yield a client that is logged in."""
    options = ClientOptions(auth=(LOGIN,), connect_timeout_s=30.0)
    with Client(hosts, options) as client:
        yield client


def write_fixed(client: Client, hosts: str) -> None:
    """Create what must be the same after each move: one znode of each kind, and a quota."""
    for path in ("/ephemerals", WATCHED, "/fixed/plain", "/fixed/quota", "/keeps"):
        client.ensure_path(path)
    client.set("/fixed/plain", bytes(range(256)))
    client.create("/fixed/container", mode=CreateMode.CONTAINER)
    client.create("/fixed/container/child")
    client.create("/fixed/ttl", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=LONG_TTL_MS)
    # As long as they have children, they are not deleted.
    client.create("/keeps/container", mode=CreateMode.CONTAINER)
    client.create("/keeps/container/child")
    client.create("/keeps/ttl", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=SHORT_TTL_MS)
    client.create("/keeps/ttl/child")
    for number in range(200):
        client.create("/fixed/plain/entry-", b"x" * number, mode=CreateMode.PERSISTENT_SEQUENTIAL)
    kazoo = KazooClient(hosts)
    kazoo.start()
    kazoo.create("/fixed/secret", b"s", acl=[make_digest_acl("user", "password", all=True)])
    kazoo.stop()
    kazoo.close()
    client.ensure_path("/zookeeper/quota/fixed/quota")
    client.create(
        "/zookeeper/quota/fixed/quota/zookeeper_limits", b"count=-1,bytes=-1=;countHardLimit=2"
    )
    client.create("/zookeeper/quota/fixed/quota/zookeeper_stats", b"count=1,bytes=0")
    client.create("/fixed/quota/first")


def check_rules(hosts: str) -> None:
    """Check that the ACL and the quota have effect."""
    with session(hosts) as client:
        assert client.get("/fixed/secret").data == b"s"
        with pytest.raises(QuotaExceededError):
            client.create("/fixed/quota/second")
    stranger = Client(hosts, ClientOptions(connect_timeout_s=30.0))
    with stranger, pytest.raises(NoAuthError):
        stranger.get("/fixed/secret")


def fixed_differences(left: StateMachine, right: StateMachine) -> list[Any]:
    """Return the differences below ``FIXED``."""
    return [found for found in differences(left, right) if found.path.startswith(FIXED)]


def change_watched(hosts: str, clients: Sequence[LiveClient], events: int) -> None:
    """Change the watched znode; every watch must be called, and is then set again."""
    with session(hosts) as client:
        client.set(WATCHED, b"changed")
    wait_until(lambda: all(found.events == events for found in clients), "an event of each watch")
    for found in clients:
        found.watch()


def check_sessions(hosts: str, clients: Sequence[LiveClient]) -> None:
    """Check that each client has its session, and each session its ephemeral."""
    for client in clients:
        client.wait_for_reply()
    assert {found.name: found.session_id() for found in clients} == {
        found.name: found.session for found in clients
    }
    with session(hosts) as reader:
        for found in clients:
            stat = reader.exists(found.ephemeral)
            assert stat is not None
            assert stat.ephemeral_owner == found.session


def print_gaps(what: str, clients: Sequence[LiveClient], begin_s: float, end_s: float) -> None:
    """Print the longest time without a reply of each client."""
    for client in clients:
        client.wait_for_reply()
        print(f"{what}: {client.name}: {client.gap_s(begin_s, end_s):.2f} s without a reply")


def start_clients(started: contextlib.ExitStack, hosts: str) -> list[LiveClient]:
    """Start the clients whose sessions live through the moves."""
    clients: list[LiveClient] = [
        kind(hosts, number, WATCHED, SESSION_MS)
        for kind in (LiveKazoo, LiveZoolet)
        for number in range(CLIENTS_OF_A_KIND)
    ]
    for found in clients:
        found.start()
        started.callback(found.close)
    return clients


def move_to_ensemble(
    old: ServerProcess, members: Sequence[CreatedMember], home: Path
) -> list[Path]:
    """Stop the server, and create the directories of the members; return them."""
    old.stop()
    written = [member.written for member in members]
    ensemble_command("create", old.config_path, *written, "--to", home)
    homes = [home / str(number) for number in range(1, len(members) + 1)]
    ensemble_command("check", *homes)
    for member, own in zip(members, homes, strict=True):
        member.use(own)
    return homes


def check_service(hosts: str, clients: Sequence[LiveClient], events: int) -> None:
    """Check the sessions, the watches, the ACL and the quota."""
    check_sessions(hosts, clients)
    change_watched(hosts, clients, events)
    check_rules(hosts)


def end_perishable(hosts: str) -> None:
    """Let a container and a TTL znode lose their children; the leader must delete them."""
    with session(hosts) as client:
        client.delete("/keeps/container/child")
        client.delete("/keeps/ttl/child")
        wait_until(lambda: not client.children("/keeps").names, "the end of /keeps")


@pytest.mark.timeout(300)
def test_to_an_ensemble_and_back(tmp_path: Path, apache_jars: Path) -> None:
    members = [CreatedMember(tmp_path / f"log {n}", apache_jars, n) for n in (1, 2, 3)]
    old = ServerProcess(tmp_path / "old", SETTINGS)
    hosts = ",".join([old.hosts, *(member.hosts for member in members)])
    write_tasks(tmp_path)
    with contextlib.ExitStack() as started:
        started.enter_context(old)
        with session(hosts) as client:
            write_fixed(client, old.hosts)
        clients = start_clients(started, hosts)
        dispatcher = started.enter_context(Dispatcher(hosts, ROOT, create=True))
        for _ in range(2):
            worker = WorkerProcess(hosts, tmp_path, "--session-timeout-ms", str(SESSION_MS))
            started.callback(worker.close)
        batch = dispatcher.submit_batch(numbered(JOBS, groups=8, s=JOB_S))
        jobs = [next_result(batch) for _ in range(JOBS // 4)]

        began_s = time.monotonic()
        homes = move_to_ensemble(old, members, tmp_path / "ensemble")
        before = machine_of(tmp_path / "old" / "data")
        ensemble = started.enter_context(ApacheEnsemble.of(members))
        print_gaps("to the ensemble", clients, began_s, time.monotonic())
        assert old.run_command("start").returncode == 1
        check_service(ensemble.hosts, clients, events=1)
        end_perishable(ensemble.hosts)
        jobs += [next_result(batch) for _ in range(JOBS // 4)]

        began_s = time.monotonic()
        for member in members:
            member.stop()
        output = ensemble_command("import", *homes, "--to", tmp_path / "back")
        assert "newest: member" in output
        back = started.enter_context(ImportedServer(tmp_path / "back log", tmp_path / "back"))
        print_gaps("back to one server", clients, began_s, time.monotonic())
        check_service(f"127.0.0.1:{back.port}", clients, events=2)
        jobs += all_results(batch)
        assert_done_once(dispatcher.queue, batch, jobs)
        assert {job.result for job in jobs} == set(range(JOBS))
    assert not (tmp_path / "back" / "data" / "myid").exists()
    for home in (*homes, tmp_path / "back"):
        after = machine_of(home / "data")
        assert fixed_differences(before, after) == [], home
        assert not {"/keeps/ttl", "/keeps/container"} & set(after.tree.records), home
