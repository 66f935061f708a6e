"""The histograms of latencies on /metrics of a real server: they count each request once."""

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
"""So long that no session expires in a test: the closing of a session is a txn with a sync."""


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
