"""The busiest clients beside Apache ZooKeeper: of Apache's server, and of an observer of zoolet."""

import json
from pathlib import Path

from tests.support.ensemble import ApacheEnsemble, new_observer
from zoolet.client import Client
from zoolet.client.connecting.servers import parse_servers
from zoolet.testing import ApacheServer
from zoolet.top.reports import Kind
from zoolet.top.sources import NO_SAMPLES, Source

MY_ID = 101
HEAP_MIB = 128


def test_of_apache_it_shows_the_requests_of_each_connection(
    apache_jars: Path, tmp_path: Path
) -> None:
    settings = {"4lw.commands.whitelist": "*"}
    with ApacheServer(tmp_path / "server", jars=apache_jars, settings=settings) as server:
        [address] = parse_servers(server.hosts).addresses
        now_s = [0.0]
        source = Source(address, None, now_s=lambda: now_s[0])
        with Client(server.hosts) as busy, Client(server.hosts) as calm:
            first = source.look()
            assert first.is_incomplete
            for _ in range(200):
                busy.exists("/a")
            for _ in range(20):
                calm.exists("/a")
            now_s[0] = 10.0
            report = source.look()
            assert (report.kind, report.note) == (Kind.COUNTERS, NO_SAMPLES.format(server.hosts))
            one, other = report.tables["clients"]
            assert one["session"] == f"{busy.session_id.id:#x}"
            assert other["session"] == f"{calm.session_id.id:#x}"
            # Pings may come on top.
            assert 20 <= one["requests_per_s"] < 22
            assert 2 <= other["requests_per_s"] < 4
            assert one["last_operation"] in {"EXIS", "PING"}
            [row] = report.tables["addresses"]
            assert row["address"] == "127.0.0.1"
            assert report.total == {"requests_per_s": row["requests_per_s"]}


def test_an_observer_shows_the_requests_of_its_own_clients(
    apache_jars: Path, tmp_path: Path
) -> None:
    settings = {"4lw.commands.whitelist": "*"}
    with (
        ApacheEnsemble(tmp_path / "members", apache_jars, HEAP_MIB, settings, count=1) as ensemble,
        new_observer(tmp_path / "observer", ensemble, MY_ID, settings) as observer,
        Client(observer.hosts) as client,
    ):
        client.create("/a", b"1")
        for _ in range(5):
            client.set("/a", b"2")
        for _ in range(10):
            client.get("/a")
        client.sync("/a")
        found = json.loads(observer.ask("topk"))
        assert {row["operation"]: row["samples"] for row in found["operations"]} == {
            "createSession": 1,
            "create2": 1,
            "setData": 5,
            "getData": 10,
            "sync": 1,
        }
        [row] = [row for row in found["paths"] if row["path"] == "/a"]
        assert row["samples"] == 17
        assert row["error_per_s"] == 0.0
        [one] = found["clients"]
        assert one["session"] == f"{client.session_id.id:#x}"
