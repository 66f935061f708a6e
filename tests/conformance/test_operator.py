"""What operators see: four-letter words, admin endpoint and metrics, beside Apache's own."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kazoo.client import KazooClient
from prometheus_client.parser import text_string_to_metric_families

from tests.support.apache import require_apache
from tests.support.waiting import wait_until
from zoolet.testing import ApacheServer, ReservedPort, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS
from zoolet.testing.servers.base import ADDRESS

NOT_MEASURED = frozenset(
    {
        "zk_last_client_response_size",
        "zk_max_client_response_size",
        "zk_min_client_response_size",
        "zk_connection_drop_probability",
        "zk_non_mtls_remote_conn_count",
        "zk_non_mtls_local_conn_count",
        "zk_outstanding_tls_handshake",
    }
)
"""Apache ZooKeeper's gauges that have no meaning here yet."""

NEWER = "restore|snapshot_(error|rate_limited)_count"
"""Figures that Apache has since 3.9; Debian's is older."""

OURS = {"zk_unread_connections_expired"}
"""Figures about what Apache ZooKeeper does not do: it waits for ever for a client to read."""

WORDS = [
    "conf",
    "cons",
    "crst",
    "dirs",
    "dump",
    "gtmk",
    "hash",
    "isro",
    "ruok",
    "srvr",
    "stat",
    "wchc",
    "wchp",
    "wchs",
    "srst",
]

COMMANDS = (
    "conf",
    "cons",
    "dirs",
    "dump",
    "gtmk",
    "hash",
    "isro",
    "lsnp",
    "lead",
    "ruok",
    "srvr",
    "stat",
    "voting_view",
    "wchc",
    "wchp",
    "wchs",
    "zabstate",
    "obsr",
    "orst",
    "stmk",
    "stmk?traceMask=5",
    "stmk?traceMask=x",
    "crst",
    "srst",
    "nonsense",
)


class Both(NamedTuple):
    """The same client's doings on both servers, and where their admin endpoints are."""

    apache: ApacheServer
    zoolet: ServerProcess
    apache_admin: int
    zoolet_admin: int


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    # Debian's in the long run too: PySpark brings no Jetty, so its server has no admin endpoint.
    jars = require_apache(DEBIAN_JARS)
    home, ports = tmp_path_factory.mktemp("operator"), (ReservedPort(), ReservedPort())
    settings = [
        {
            "tickTime": 2000,
            "admin.enableServer": "true",
            "admin.serverAddress": ADDRESS,
            "admin.serverPort": port.number,
        }
        for port in ports
    ]
    with (
        ApacheServer(home / "apache", jars, settings[0]) as apache,
        ServerProcess(home / "zoolet", settings[1]) as zoolet,
    ):
        clients = [KazooClient(hosts=server.hosts, timeout=10.0) for server in (apache, zoolet)]
        for client in clients:
            client.start()
            client.create("/e", b"x", ephemeral=True)
            client.get("/e", watch=print)
            client.get_children("/", watch=print)
        yield Both(apache, zoolet, *(port.number for port in ports))
        for client in clients:
            client.stop()
            client.close()


@pytest.mark.parametrize("word", WORDS)
def test_a_word_has_the_originals_format(both: Both, word: str) -> None:
    assert shape_of(both.zoolet.ask(word)) == shape_of(both.apache.ask(word))


def test_monitored_figures_have_the_originals_names(both: Both) -> None:
    ours, theirs = (
        {line.split("\t")[0] for line in answer.splitlines()}
        for answer in (both.zoolet.ask("mntr"), both.apache.ask("mntr"))
    )
    assert {name for name in ours if not re.search(NEWER, name)} - theirs == OURS
    gauges = {line.split("\t")[0] for line in both.apache.ask("mntr").splitlines()[:26]}
    assert gauges - ours <= NOT_MEASURED


def test_a_trace_mask_is_kept(server: ServerProcess) -> None:
    assert server.ask("gtmk") == "306"
    with socket.create_connection((ADDRESS, server.port), timeout=10) as connection:
        connection.sendall(b"stmk" + (7).to_bytes(4))
        connection.sendall((9).to_bytes(4))
        assert connection.recv(100) == str((7 << 32) + 9).encode()
    assert server.ask("gtmk") == str((7 << 32) + 9)


def test_connections_show_what_they_did(server: ServerProcess, client: Any) -> None:
    client.create("/a", b"x")
    client.get("/a")
    shown = re.search(r"sid=0x(\w+),lop=(\w+),.*lcxid=0x(\w+),lzxid=0x(\w+)", server.ask("cons"))
    assert shown is not None
    assert int(shown[1], 16) == client.client_id[0]
    assert shown[2] in {"GETD", "PING"}
    assert shown[4] == "2"
    assert server.ask("crst") == "Connection stats reset.\n"
    assert "recved=0" in server.ask("cons")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_the_originals_fields(both: Both, command: str) -> None:
    _, ours = get_json(both.zoolet_admin, f"/commands/{command}")
    _, theirs = get_json(both.apache_admin, f"/commands/{command}")
    assert keys_of(ours) == keys_of(theirs)
    for key in ("command", "error"):
        assert ours[key] == theirs[key]


def test_the_commands_are_listed(both: Both) -> None:
    listed = [
        set(re.findall(r'href="/commands/(\w+)"', fetch(port, "/commands")[1].decode()))
        for port in (both.zoolet_admin, both.apache_admin)
    ]
    assert listed[0] - {"snapshot", "restore", "top", "watch_details"} == listed[1]


def test_what_is_no_command_is_said(both: Both) -> None:
    port = both.zoolet_admin
    assert get_json(port, "/commands/nonsense")[0] == 404
    assert fetch(port, "/elsewhere")[0] == 404
    assert fetch(port, "/commands/ruok", method="DELETE")[0] == 405
    assert fetch(port, "/commands/ruok", method="HEAD") == (200, b"")
    with socket.create_connection((ADDRESS, port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection((ADDRESS, port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 431 ")


def test_a_taken_admin_port_is_a_warning(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = {
            "admin.enableServer": "true",
            "admin.serverAddress": ADDRESS,
            "admin.serverPort": port,
        }
        with ServerProcess(tmp_path / "server", settings) as server:
            assert server.ask("ruok") == "imok"
            wait_until(lambda: f"no admin endpoint on port {port}" in server.log, "the warning")


def test_metrics_are_prometheus(tmp_path: Path) -> None:
    port = ReservedPort()
    provider = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
    settings = {
        "metricsProvider.className": provider,
        "metricsProvider.httpHost": ADDRESS,
        "metricsProvider.httpPort": port.number,
    }
    with ServerProcess(tmp_path / "server", settings) as server:
        client = KazooClient(hosts=server.hosts)
        client.start()
        client.create("/a", b"x" * 100)
        status, body = fetch(port.number, "/metrics")
        client.stop()
        client.close()
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert status == 200
    assert samples["znode_count"] == 5 + 1
    assert samples["global_sessions"] == 1
    assert samples["fsynctime_count"] >= 2
    assert samples["approximate_data_size"] > 100
    assert fetch(port.number, "/metrics", expected_end=True)[0] == 0


def shape_of(answer: str) -> list[str]:
    """Return an answer's lines without what differs from run to run: numbers, paths and dates."""
    lines = []
    for line in answer.splitlines():
        kept = re.sub(r"/[\w./-]*version-2", "DIR", line)
        kept = re.sub(r"version: .*", "version: V", kept)
        kept = re.sub(r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d \w+ \d{4}", "DATE", kept)
        kept = re.sub(r"lop=\w+", "lop=OP", kept)
        lines.append(re.sub(r"0x[0-9a-f]+|-?\d+(\.\d+)?", "N", kept))
    # The connection that asks stands first or last, and may be dumped or gone already.
    return sorted(set(lines))


def keys_of(value: object) -> object:
    """Return the names in a JSON value; ids and paths that stand as names are left out."""
    if isinstance(value, dict):
        named = {key: keys_of(inner) for key, inner in value.items() if re.match("[a-z]", key)}
        return named or type(value)
    if isinstance(value, list):
        return [keys_of(inner) for inner in value[:1]]
    return None


def fetch(
    port: int, path: str, method: str = "GET", *, expected_end: bool = False
) -> tuple[int, bytes]:
    """Return status and body; 0 where nothing listens any more and that is expected."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    except ConnectionRefusedError:
        if not expected_end:
            raise
        return 0, b""
    finally:
        connection.close()


def get_json(port: int, path: str) -> tuple[int, dict[str, Any]]:
    status, body = fetch(port, path)
    return status, json.loads(body)
