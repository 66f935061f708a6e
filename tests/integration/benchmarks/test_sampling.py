"""The benchmark of the samples: a server whose sampling is switched on and off."""

import json
import socket

import pytest

from benchmarks import servers
from benchmarks.sampling import measure, server
from zoolet.client import Client

NUM_REQUESTS = 50


def test_a_pair_has_the_cpu_time_of_a_request_with_samples_and_without() -> None:
    pairs = measure(2, 1, pairs=2, seconds=0.2)
    assert len(pairs) == 2
    assert all(cpu_us > 0 for pair in pairs for cpu_us in pair)


@pytest.mark.parametrize("how", ["with", "without"])
def test_only_a_server_with_samples_takes_samples(how: str) -> None:
    with servers.scratch() as home, server(home) as (port, served):
        _, before = served.switch(how)
        with Client(f"127.0.0.1:{port}") as zk:
            for _ in range(NUM_REQUESTS):
                zk.exists("/")
            _, after = served.switch(how)
            assert after - before > NUM_REQUESTS
            with socket.create_connection(("127.0.0.1", port)) as asking:
                asking.sendall(b"topk")
                answer = json.loads(asking.makefile().read())
        assert (answer["total"]["samples"] >= NUM_REQUESTS) == (how == "with")
        assert how == "with" or answer["total"]["samples"] == 0
