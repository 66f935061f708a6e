"""The TCP ports that a server opens: those that the page names, and free ones for port 0."""

import re
import socket
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.waiting import wait_until
from zoolet.testing import ServerProcess

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"
LISTEN = "0A"
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
METRICS = {
    "metricsProvider.className": "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
}


class Listening(NamedTuple):
    """Where a socket listens."""

    address: str
    port: int


def ports_on_the_page(client_port: int) -> set[Listening]:
    """Return where a server with a zoo.cfg of three lines listens, according to the page."""
    text = PAGE.read_text()
    found = re.search(r"^These lines open (\w+) ports: (.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    assert found is not None, "docs/operating.md has no sentence: These lines open N ports:"
    # What stands in parentheses is how to change it.
    sentence = " ".join(re.sub(r"\s\((?:[^()]|\([^()]*\))*\)|\]\([^)]*\)", "", found[2]).split())
    named = re.findall(r"(`clientPort`|\b\d+) on (all addresses|[\d.]+\d)", sentence)
    assert len(named) == NUMBERS[found[1]], sentence
    assert "IPv4 and IPv6" in sentence
    return {
        Listening(host, client_port if port == "`clientPort`" else int(port))
        for port, address in named
        for host in (("0.0.0.0", "::") if address == "all addresses" else (address,))
    }


def ports_of(pid: int) -> set[Listening]:
    """Return where the sockets of a process listen, as the system has it."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(fd.readlink())
        except FileNotFoundError:  # closed since
            continue
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            inodes.add(match[1])
    found = set()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        table = Path(f"/proc/{pid}/net/{name}")
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            if state == LISTEN and inode in inodes:
                address, _, port = local.partition(":")
                found.add(Listening(_address_of(family, address), int(port, 16)))
    return found


def _address_of(family: socket.AddressFamily, shown: str) -> str:
    """Return an address from how /proc shows it: words of 32 bits in the machine's byte order."""
    words = [int(shown[start : start + 8], 16) for start in range(0, len(shown), 8)]
    return socket.inet_ntop(family, b"".join(word.to_bytes(4, sys.byteorder) for word in words))


def can_listen(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        socket.create_server((address, port), family=family).close()
    except OSError:
        return False
    return True


def test_three_lines_open_the_ports_that_the_page_names(tmp_path: Path) -> None:
    if not can_listen(socket.AF_INET, "127.0.0.1", 8080):
        pytest.skip("needs the port 8080, which another program uses")
    server = ServerProcess(tmp_path)
    lines = ("tickTime=2000", f"dataDir={tmp_path / 'data'}", f"clientPort={server.port}")
    server.config_path.write_text("\n".join(lines))
    expected = ports_on_the_page(server.port)
    if not can_listen(socket.AF_INET6, "::", 0):
        expected.discard(Listening("::", server.port))
    with server:
        wait_until(lambda: "listening for" in server.log, "the line about the addresses")
        assert ports_of(server.pid) == expected


def shown_port(server: ServerProcess, users: str) -> int:
    """Return the port that the log says ``users`` have on 127.0.0.1."""
    wait_until(lambda: "listening for" in server.log, "the line about the addresses")
    (line,) = (line for line in server.log.splitlines() if "listening for" in line)
    found = re.search(rf"\b{users} 127\.0\.0\.1:(\d+)", line)
    assert found is not None, line
    return int(found[1])


@pytest.mark.parametrize(
    ("users", "page", "settings"),
    [
        (
            "admin",
            "/commands/ruok",
            {"admin.enableServer": "true", "admin.serverPort": 0},
        ),
        (
            "metrics",
            "/metrics",
            {**METRICS, "metricsProvider.httpHost": "127.0.0.1", "metricsProvider.httpPort": 0},
        ),
    ],
)
def test_port_0_is_a_free_port_of_each_server_that_the_log_names(
    tmp_path: Path, users: str, page: str, settings: dict[str, object]
) -> None:
    with ServerProcess(tmp_path / "a", settings) as a, ServerProcess(tmp_path / "b", settings) as b:
        ports = [shown_port(server, users) for server in (a, b)]
        assert len({0, *ports}) == 3
        for server, port in zip((a, b), ports, strict=True):
            assert Listening("127.0.0.1", port) in ports_of(server.pid)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}") as answer:
                assert answer.status == 200
        assert "no admin endpoint" not in a.log + b.log


def test_port_0_on_all_addresses_is_the_same_port_in_both_families(tmp_path: Path) -> None:
    if not can_listen(socket.AF_INET6, "::", 0):
        pytest.skip("needs IPv6 on the loopback interface")
    settings = {**METRICS, "metricsProvider.httpPort": 0}
    with ServerProcess(tmp_path, settings) as server:
        wait_until(lambda: "listening for" in server.log, "the line about the addresses")
        metrics = [each for each in ports_of(server.pid) if each.port != server.port]
        (port,) = {each.port for each in metrics}
        assert {each.address for each in metrics} == {"0.0.0.0", "::"}
        assert f"metrics 0.0.0.0:{port} [::]:{port}" in server.log
