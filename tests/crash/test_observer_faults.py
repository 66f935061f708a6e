"""Clients work through an observer and through members, while servers end and links break.

``make observer-faults`` makes 50 faults; ``--observer-kind apache`` puts Apache's observer in the
same place. Invariants, with those of ``tests/support/observed_clients.py``:

- an acknowledged write is never missing;
- in a session there is no reply with a zxid after that of its end, and the observer answers no
  request that was sent after the leader had ended the session;
- at the end, the observer and the leader have the same data;
- the observer's memory has a limit.
"""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from benchmarks.servers import Running
from tests.support.ensemble import ApacheEnsemble, new_apache_observer, new_observer
from tests.support.observed_clients import ObservedClient, hex64, now_ms
from tests.support.observer_faults import MEMBER_SETTINGS, Faults
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from zoolet.data.comparing import differences
from zoolet.data.directory_reader import directories_of, machine_of, state_of
from zoolet.model.codes import OpCode
from zoolet.model.txns import TxnHeader
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.disk import Disk
from zoolet.storage.errors import DamagedFileError
from zoolet.storage.recovery import AsOf
from zoolet.storage.txn_log import read_records
from zoolet.testing.servers.process import ExternalServer

MY_ID = 101
MOST_RESIDENT_MB = 400.0
CONFIG = "/zookeeper/config"
WRITES_BETWEEN = 20

LONGEST_S = 9.0
"""Longer than the longest session timeout of a client (8 s)."""

SHORT_ROUNDS, SHORT_LONGEST_S = 10, 2.5
"""A short run, in which only the shortest session timeout (1.5 s) ends."""

SEND_SLACK_MS = 100
"""The leader notes the time of a txn in whole ms, before it commits the txn."""

RECEIVE_SLACK_MS = 2000
"""A client on a busy machine may read a reply late."""


@pytest.fixture
def ensemble(tmp_path: Path, apache_jars: Path, is_zoolet: bool) -> Iterator[ApacheEnsemble]:
    settings = {**MEMBER_SETTINGS, "reconfigEnabled": str(is_zoolet).lower()}
    with ApacheEnsemble(tmp_path / "ensemble", apache_jars, 192, settings) as running:
        yield running


@pytest.fixture
def links(ensemble: ApacheEnsemble) -> Iterator[list[Proxy]]:
    with contextlib.ExitStack() as started:
        ports = [int(line.split(":")[1]) for line in ensemble.servers.values()]
        yield [started.enter_context(Proxy(port)) for port in ports]


@pytest.fixture
def is_zoolet(request: pytest.FixtureRequest) -> bool:
    kind: str = request.config.getoption("--observer-kind")
    return kind == "zoolet"


@pytest.fixture
def observer(
    tmp_path: Path, ensemble: ApacheEnsemble, links: list[Proxy], is_zoolet: bool
) -> Iterator[ExternalServer]:
    lines = {
        key: f"{link.hosts}:{line.split(':')[2]}"
        for (key, line), link in zip(ensemble.servers.items(), links, strict=True)
    }
    new = new_observer if is_zoolet else new_apache_observer
    with new(tmp_path / "observer", ensemble, MY_ID, lines) as running:
        yield running
    assert not is_zoolet or "Traceback" not in running.log, running.log


def test_an_observer_survives_faults(
    ensemble: ApacheEnsemble,
    links: list[Proxy],
    observer: ExternalServer,
    is_zoolet: bool,
    request: pytest.FixtureRequest,
) -> None:
    seed = request.config.getoption("--observer-seed") or random.randrange(1 << 32)
    rounds = request.config.getoption("--observer-rounds")
    print(f"\nmake observer-faults SEED={seed}")
    chance = random.Random(seed)
    clients = start_clients(ensemble, observer, chance)
    longest_s = LONGEST_S if rounds > SHORT_ROUNDS else SHORT_LONGEST_S
    faults = Faults(chance, ensemble, observer, links, with_reconfig=is_zoolet, longest_s=longest_s)
    for number, (name, make) in enumerate(faults.rounds(rounds), 1):
        began_s = time.monotonic()
        make()
        took_s = time.monotonic() - began_s
        wait_for_progress(clients, name)
        resident_mb = Running(observer.port, observer.pid, 0.0).usage().resident_mb
        print(
            f"{now_ms():13} {number:3} {name:16} {took_s:5.2f} s, all clients write again after"
            f" {time.monotonic() - began_s - took_s:5.2f} s, resident {resident_mb:.0f} MB",
            flush=True,
        )
        assert faults_of(clients) == []
        assert not is_zoolet or resident_mb < MOST_RESIDENT_MB
    stop_all(ensemble, observer, clients)
    leader = next(each for each in ensemble.members if each.port == clients.leader_port)
    left = machine_of(observer.directory / "data")
    # The log of a killed leader may end with a txn that no follower has. It was never committed.
    as_of = AsOf(zxid=left.zxid)
    right = state_of(directories_of(leader.directory / "data"), as_of).machine
    assert right.zxid == left.zxid
    found = [each for each in differences(left, right) if each.path != CONFIG]
    assert found == []
    check_writes(clients, right)
    check_ends(clients, ensemble, is_zoolet)


class Clients(list[ObservedClient]):
    """All clients.

    Attributes:
        leader_port: the port of the last leader.
    """

    leader_port = 0


def start_clients(
    ensemble: ApacheEnsemble, observer: ExternalServer, chance: random.Random
) -> Clients:
    """Start clients of the observer, of each member, and clients that move between them."""
    members = [member.port for member in ensemble.members]
    places = [[observer.port]] * 4 + [[port] for port in members[:2]]
    places += [[observer.port, *members]] * 2
    clients = Clients()
    with contextlib.closing(KazooClient(hosts=ensemble.hosts, timeout=20.0)) as setup:
        setup.start(timeout=30)
        setup.create("/sessions")
        for number, ports in enumerate(places):
            setup.create(f"/c{number}", b"0")
            seed = chance.randrange(1 << 32)
            clients.append(ObservedClient(f"/c{number}", ports, observer.port, seed))
        setup.stop()
    for client in clients:
        client.start()
    return clients


def wait_for_progress(clients: Clients, name: str) -> None:
    """Return when each client has some acknowledged writes that it sent from now on."""
    before = [client.ended.sent + WRITES_BETWEEN for client in clients]

    def has_progress() -> bool:
        pairs = zip(clients, before, strict=True)
        return all(client.ended.acknowledged > sent for client, sent in pairs) or bool(
            faults_of(clients)
        )

    try:
        wait_until(has_progress, f"a write of each client after {name}")
    except AssertionError:
        pairs = zip(clients, before, strict=True)
        late = [client.path for client, sent in pairs if client.ended.acknowledged <= sent]
        raise AssertionError(f"no write of {', '.join(late)} after {name}") from None


def faults_of(clients: Clients) -> list[str]:
    return [fault for client in clients for fault in client.ended.faults]


def stop_all(ensemble: ApacheEnsemble, observer: ExternalServer, clients: Clients) -> None:
    """Stop the clients, wait until the observer has the last txn, and stop the servers."""
    for client in clients:
        client.stops.set()
    for client in clients:
        client.join(30)
        assert not client.is_alive()
    assert faults_of(clients) == []
    restart(ensemble)
    leader = ensemble.leader()
    clients.leader_port = leader.port

    def is_same() -> bool:
        return leader.zxid == zxid_of(observer) != ""

    wait_until(is_same, "the last txn at the observer")
    for member in ensemble.members:
        member.kill()
    observer.stop()


def restart(ensemble: ApacheEnsemble) -> None:
    """Restart the members, and make a last change.

    A new leader takes a snapshot. So its older logs need not be read. Such a log may end with an
    unfinished record, if the member was killed.
    """
    for member in ensemble.members:
        member.kill()
    ensemble.__enter__()
    with contextlib.closing(KazooClient(hosts=ensemble.hosts, timeout=20.0)) as last:
        last.start(timeout=30)
        last.create("/end")
        last.stop()


def zxid_of(server: ExternalServer) -> str:
    """Return the zxid that ``srvr`` shows; "" if there is no answer."""
    with contextlib.suppress(OSError):
        lines = server.ask("srvr").splitlines()
        return next((line for line in lines if line.startswith("Zxid: ")), "")
    return ""


def check_writes(clients: Clients, state: StateMachine) -> None:
    """Check that what was acknowledged is in the final state."""
    for client in clients:
        ended = client.ended
        znode = state.tree.find(client.path)
        assert znode is not None
        assert ended.acknowledged <= int(znode.data or b"") <= ended.sent, client.path
        missing = [path for path in ended.created if path not in state.tree.records]
        assert missing == []
        print(
            f"{client.path}: {client.replies} replies, {ended.acknowledged} of {ended.sent} sets"
            f" acknowledged, {len(ended.created)} creates, {len(ended.sessions)} sessions,"
            f" resumed {client.resumed} times"
        )


def check_ends(clients: Clients, ensemble: ApacheEnsemble, is_zoolet: bool) -> None:
    """Check that nothing was answered in a session after its end."""
    ends = ends_of_sessions(ensemble)
    late: list[str] = []
    for client in clients:
        for session_id, answered in client.ended.sessions.items():
            zxid, end_ms = ends.get(session_id, (1 << 62, 1 << 62))
            if (
                answered.zxid >= zxid
                or answered.sent_ms > end_ms + SEND_SLACK_MS
                or answered.received_ms > end_ms + RECEIVE_SLACK_MS
            ):
                late.append(
                    f"{client.path}: session 0x{hex64(session_id)} ended with 0x{zxid:x} at"
                    f" {end_ms}, but {answered} was answered"
                )
    print(f"{len(ends)} sessions were ended; late replies: {late}")
    assert late == [] or not is_zoolet, late


def ends_of_sessions(ensemble: ApacheEnsemble) -> dict[int, tuple[int, int]]:
    """Return the zxid and the time of the end of each session, in ms since the epoch.

    A leader that stood still may have logged an end that the others never accepted, and its log may
    keep it. An end that most members have logged is committed.
    """
    logged: Counter[tuple[int, int, int]] = Counter()
    for member in ensemble.members:
        headers = headers_in(member.directory / "data" / "version-2")
        logged.update(
            {
                (header.client_id, header.zxid, header.time_ms)
                for header in headers
                if header.type == OpCode.CLOSE_SESSION
            }
        )
    most = len(ensemble.members) // 2 + 1
    return {
        session_id: (zxid, time_ms)
        for (session_id, zxid, time_ms), count in logged.items()
        if count >= most
    }


def headers_in(directory: Path) -> Iterator[TxnHeader]:
    """Yield the headers of the txns in all logs, of each log up to an unfinished record."""
    for path in directory.glob("log.*"):
        with Disk().open(path) as log, contextlib.suppress(DamagedFileError):
            for record in read_records(path, log):
                yield record.txn.header
