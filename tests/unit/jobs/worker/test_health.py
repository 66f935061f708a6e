"""The health of a worker: who is live, who is ready, and how probes see it."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.waiting import WAIT_S
from zoolet.jobs.worker import health_server
from zoolet.jobs.worker.health import LOOK_LIMIT_S, WorkerHealth, why_not_live, why_not_ready
from zoolet.jobs.worker.health_server import HealthServer

READY = WorkerHealth("ready", is_live=True, is_ready=True, worker="w", executors=2)
UNREADY = WorkerHealth("not ready", is_live=True, is_ready=False, reason="no connection")
FAILED = WorkerHealth("failed", is_live=False, is_ready=False, reason="broken")


class Serving:
    """A server whose health a test sets."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.health = READY
        self.server = HealthServer(lambda: self.health, 0, address)
        self.address = address

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, self.server.server_port, WAIT_S)
        try:
            connection.request(method, path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


@pytest.fixture
def serving() -> Iterator[Serving]:
    found = Serving()
    yield found
    found.server.close()


@pytest.mark.parametrize(
    ("health", "live", "ready"), [(READY, 200, 200), (UNREADY, 200, 503), (FAILED, 503, 503)]
)
def test_a_probe_gets_a_status_and_the_reason(
    serving: Serving, health: WorkerHealth, live: int, ready: int
) -> None:
    serving.health = health
    assert serving.ask("/live")[0] == live
    for path in ("/ready", "/status", "/ready?verbose"):
        status, body = serving.ask(path)
        assert status == ready
        assert json.loads(body) == health.as_dict()


def test_head_has_no_body_and_other_requests_are_refused(serving: Serving) -> None:
    assert serving.ask("/ready", "HEAD") == (200, b"")
    assert serving.ask("/metrics")[0] == 404
    assert serving.ask("/live", "POST")[0] == 501


def test_clients_that_send_nothing_do_not_keep_others_out_for_ever(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_server._Handler, "timeout", 0.05)
    silent = [
        socket.create_connection(("127.0.0.1", serving.server.server_port))
        for _ in range(2 * health_server.CONNECTIONS_MOST)
    ]
    for one in silent:
        one.settimeout(WAIT_S)
        assert one.recv(1) == b"", "the server closes the connection"
        one.close()
    assert serving.ask("/live")[0] == 200


def test_connections_above_the_limit_are_closed_without_a_reply(serving: Serving) -> None:
    in_answer, may_answer = threading.Semaphore(0), threading.Event()

    def slow_health() -> WorkerHealth:
        in_answer.release()
        assert may_answer.wait(WAIT_S)
        return READY

    serving.server.health = slow_health
    answers: list[int] = []
    asking = [
        threading.Thread(target=lambda: answers.append(serving.ask("/live")[0]))
        for _ in range(health_server.CONNECTIONS_MOST)
    ]
    for thread in asking:
        thread.start()
    for _ in asking:
        assert in_answer.acquire(timeout=WAIT_S)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        serving.ask("/live")
    may_answer.set()
    for thread in asking:
        thread.join(WAIT_S)
    assert answers == [200] * health_server.CONNECTIONS_MOST


def test_the_address_may_be_ipv6() -> None:
    try:
        serving = Serving("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert serving.ask("/live")[0] == 200
    serving.server.close()


def test_a_worker_without_a_server_is_live_and_not_ready() -> None:
    assert why_not_live(is_connected=False, idle_s=10 * LOOK_LIMIT_S) == ""
    reason = why_not_ready(is_connected=False, is_registered=True, executors=1, ready_executors=1)
    assert "no connection" in reason


def test_a_connected_worker_that_does_not_look_for_jobs_is_not_live() -> None:
    assert why_not_live(is_connected=True, idle_s=LOOK_LIMIT_S) == ""
    assert "61 s" in why_not_live(is_connected=True, idle_s=LOOK_LIMIT_S + 1)


@pytest.mark.parametrize(
    ("is_registered", "ready", "reason"),
    [(False, 2, "not registered"), (True, 0, "none of 2 executors"), (True, 1, "")],
)
def test_a_worker_is_ready_when_it_can_take_jobs(
    is_registered: bool, ready: int, reason: str
) -> None:
    found = why_not_ready(
        is_connected=True, is_registered=is_registered, executors=2, ready_executors=ready
    )
    assert reason in found
    assert bool(found) == bool(reason)
