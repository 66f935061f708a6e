"""The histograms of latencies on /metrics of a real server: they count each request once."""

import contextlib
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.rawclient import RawClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.testing import ReservedPort, ServerProcess
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

PROVIDER = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
NUM_READS = 70
NUM_WRITES = 30
SESSION_TIMEOUT_MS = 60_000
"""No session expires within a test: the closing of a session is a txn with a sync."""


class Histogram(NamedTuple):
    """A histogram as /metrics has it; ``buckets`` are cumulative, by their upper bound in ms."""

    buckets: dict[float, int]
    num_durations: int
    total_ms: float


class Measured:
    """A server with metrics."""

    def __init__(self, directory: Path) -> None:
        self.metrics_port = ReservedPort()
        self.server = ServerProcess(
            directory,
            {
                "metricsProvider.className": PROVIDER,
                "metricsProvider.httpHost": "127.0.0.1",
                "metricsProvider.httpPort": self.metrics_port.number,
                "maxSessionTimeout": SESSION_TIMEOUT_MS,
            },
        )

    def histogram(self, name: str) -> Histogram:
        with urllib.request.urlopen(f"http://{self.metrics_port.address}/metrics") as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        (family,) = (family for family in families if family.name == name)
        assert family.type == "histogram"
        values = {sample.name: sample.value for sample in family.samples}
        return Histogram(
            {
                float(sample.labels["le"]): int(sample.value)
                for sample in family.samples
                if sample.name == f"{name}_bucket"
            },
            int(values[f"{name}_count"]),
            values[f"{name}_sum"],
        )


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Measured]:
    measured = Measured(tmp_path)
    with measured.server:
        yield measured


def assert_consistent(histogram: Histogram) -> None:
    """Check that a histogram does not contradict itself, whatever the latencies are."""
    bounds, counts = list(histogram.buckets), list(histogram.buckets.values())
    assert bounds == [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, float("inf")]
    assert counts == sorted(counts)
    assert counts[-1] == histogram.num_durations
    in_bucket = [count - before for count, before in zip(counts, [0, *counts[:-1]], strict=True)]
    above = [-1.0, *bounds[:-1]]
    # Whole ms: what is above a bound is at least one more.
    least = sum(count * (low + 1) for count, low in zip(in_bucket, above, strict=True))
    most = sum(count * bound for count, bound in zip(in_bucket, bounds, strict=True) if count)
    assert least <= histogram.total_ms <= most


def send_requests(client: RawClient, *, is_pipelined: bool) -> None:
    """Send the reads and writes, and take their replies."""
    requests = [(OpCode.EXISTS, pack_ustring("/") + b"\0")] * NUM_READS
    for number in range(NUM_WRITES):
        body = pack_ustring(f"/z{number}") + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(0)
        requests.insert(number * len(requests) // NUM_WRITES, (OpCode.CREATE, body))
    if is_pipelined:
        for op_code, body in requests:
            client.send(op_code, body)
        assert {client.read_reply().err for _ in requests} == {0}
    else:
        for op_code, body in requests:
            assert client.request(op_code, body).err == 0


def histograms_around(
    measured: Measured, name: str, *, is_pipelined: bool
) -> tuple[Histogram, Histogram]:
    """Return a consistent histogram before and after the reads and writes."""
    with RawClient(measured.server.port) as client:
        client.connect(SESSION_TIMEOUT_MS)
        before = measured.histogram(name)
        send_requests(client, is_pipelined=is_pipelined)
        after = measured.histogram(name)
    for histogram in (before, after):
        assert_consistent(histogram)
    return before, after


@pytest.mark.parametrize("is_pipelined", [False, True])
def test_each_request_is_in_one_bucket(measured: Measured, is_pipelined: bool) -> None:
    before, after = histograms_around(measured, "request_latency", is_pipelined=is_pipelined)
    num_requests = NUM_READS + NUM_WRITES
    assert after.num_durations - before.num_durations == num_requests
    assert after.buckets[float("inf")] - before.buckets[float("inf")] == num_requests
    assert all(after.buckets[bound] >= count for bound, count in before.buckets.items())
    assert after.total_ms >= before.total_ms


@pytest.mark.parametrize("num_children", [5_100, 10_000])
def test_long_replies_are_in_one_bucket_with_those_before_them(
    measured: Measured, num_children: int
) -> None:
    """Long data, and a list that is encoded in several steps; its reply may be short or long."""
    with RawClient(measured.server.port) as client:
        client.connect(SESSION_TIMEOUT_MS)
        client.create("/long", bytes(100_000))
        client.create("/list", b"")
        acl = pack_acl(OPEN_ACL) + INT.pack(0)
        for number in range(num_children):
            client.send(OpCode.CREATE, pack_ustring(f"/list/{number}") + pack_buffer(b"") + acl)
        assert {client.read_reply().err for _ in range(num_children)} == {0}
        exists = (OpCode.EXISTS, pack_ustring("/") + b"\0")
        get_long = (OpCode.GET_DATA, pack_ustring("/long") + b"\0")
        get_list = (OpCode.GET_CHILDREN, pack_ustring("/list") + b"\0")
        requests = [exists, get_long, exists, get_list, exists, exists, get_list, get_long] * 5
        before = measured.histogram("request_latency")
        for op_code, body in requests:
            client.send(op_code, body)
        assert {client.read_reply().err for _ in requests} == {0}
        after = measured.histogram("request_latency")
    assert after.num_durations - before.num_durations == len(requests)
    assert_consistent(after)


def test_connections_that_are_closed_for_doing_nothing_are_counted(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"nio.sessionlessCnxnTimeout": 100}) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as silent:
            silent.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert silent.recv(1) == b""
        shown = dict(line.split("\t") for line in server.ask("mntr").splitlines())
    assert shown["zk_sessionless_connections_expired"] == "1"
    assert shown["zk_unread_connections_expired"] == "0"


def test_each_sync_is_in_one_bucket(measured: Measured) -> None:
    """Writes that wait for each other's reply have a sync each; reads have none."""
    before, after = histograms_around(measured, "sync_latency", is_pipelined=False)
    assert after.num_durations - before.num_durations == NUM_WRITES


def test_srst_does_not_reset_the_histograms(measured: Measured) -> None:
    """A counter of Prometheus only rises."""
    with RawClient(measured.server.port) as client:
        client.connect(SESSION_TIMEOUT_MS)
        send_requests(client, is_pipelined=True)
        before = measured.histogram("request_latency")
        assert measured.server.ask("srst") == "Server stats reset.\n"
        assert measured.histogram("request_latency") == before
