"""How zoolet's own figures grow, and what its features cost: ratios within one run.

With the znodes: throughput, memory. With the children: getChildren. With TLS, ACLs, quotas and
watches: throughput as a part of what it is with none of them. Then what a server needs under
different loads. Medians of ROUNDS rounds. Usage: python -m benchmarks.growth [ROUNDS [SECONDS]]
[--only PART].
"""

import argparse
import contextlib
import socket
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import trustme
from rich.console import Console
from rich.table import Table

from benchmarks import capacity, servers
from benchmarks.capacity import of_znodes
from benchmarks.native import run_load
from tests.support.rawclient import RawClient
from zoolet.model.codes import AddWatchMode, OpCode
from zoolet.testing import ReservedPort
from zoolet.wire.jute import INT, pack_ustring

MANY, FEW = 1_000_000, 1000
WARMUP_S = 1.0
CHILDREN = (100, 1000, 10_000)
PIPELINED, ONE_AT_A_TIME = (16, 32), (64, 1)
CREDENTIALS = "someone:secret"
CAPACITY = "capacity"


@contextlib.contextmanager
def serving(settings: Mapping[str, object] | None = None) -> Iterator[servers.Running]:
    """Run zoolet on a new directory."""
    with servers.scratch() as home, servers.zoolet(home, settings) as running:
        yield running


def make_znodes(port: int, znodes: int = FEW) -> None:
    """Make those that are asked for."""
    run_load("requests", port, 1, 1, 0, 0, "none", settings={"ZNODES": znodes})


def throughput(
    port: int, work: str, seconds: float, shape: tuple[int, int] = PIPELINED, **settings: Any
) -> float:
    """Return requests a second; ``shape`` is the connections, and what is outstanding on each."""
    tls = settings.pop("tls", False)
    printed = run_load(
        *("requests", port, *shape, WARMUP_S, seconds, work), settings=settings, tls=tls
    )
    per_s: float = printed["per_s"]
    return per_s


def by_znodes(seconds: float) -> dict[str, float]:
    """Return the ratios of throughput with many znodes to that with few."""
    found = {}
    for work in ("get", "set"):
        for shape in (PIPELINED, ONE_AT_A_TIME):
            with serving() as few:
                base = throughput(few.port, work, seconds, shape, ZNODES=FEW)
            with serving() as many:
                make_znodes(many.port, MANY)
                for name, asked in ((f"{FEW:,}", FEW), ("all", MANY)):
                    per_s = throughput(many.port, work, seconds, shape, ZNODES=asked)
                    found[f"{work} {shape[0]}x{shape[1]}, of {name}"] = per_s / base
    return found


def by_children(seconds: float) -> dict[str, float]:
    """Return the ns that getChildren takes for each child."""
    found = {}
    for children in CHILDREN:
        with serving() as server:
            per_s = throughput(server.port, "children", seconds, CHILDREN=children)
        found[f"{children:,} children"] = 1e9 / per_s / children
    return found


def bytes_per_znode(znodes: int) -> float:
    """Return the resident bytes for each of these znodes, beyond those of an empty server."""
    more_mb = of_znodes(znodes).memory_mb - of_znodes(0).memory_mb
    return more_mb * 1e6 / znodes


def by_memory() -> dict[str, float]:
    """Return the resident bytes for each znode."""
    sizes = (MANY // 4, MANY // 2, MANY)
    return {f"{znodes:,} znodes": bytes_per_znode(znodes) for znodes in sizes}


def by_feature(seconds: float) -> dict[str, float]:
    """Return the throughput with each feature, as a part of that with none."""
    found = {}
    for work in ("get", "set"):
        with serving() as server:
            base = throughput(server.port, work, seconds)
        with _under_tls() as port:
            found[f"{work}, TLS"] = throughput(port, work, seconds, tls=True) / base
        with serving() as server:
            per_s = throughput(server.port, work, seconds, AUTH=CREDENTIALS)
            found[f"{work}, ACLs"] = per_s / base
        with serving() as server, with_quota(server.port):
            found[f"{work}, a quota"] = throughput(server.port, work, seconds) / base
        with serving() as server, _watching(server.port, work):
            per_s = throughput(server.port, work, seconds, WATCH=int(work == "get"))
            found[f"{work}, watches"] = per_s / base
    return found


@contextlib.contextmanager
def _under_tls() -> Iterator[int]:
    certificate = trustme.CA().issue_cert("localhost")
    reserved = ReservedPort()
    with (
        certificate.private_key_and_cert_chain_pem.tempfile() as store,
        serving(
            {
                "secureClientPort": reserved.number,
                "secureClientPortAddress": "127.0.0.1",
                "ssl.keyStore.location": store,
                "ssl.clientAuth": "none",
            }
        ),
    ):
        yield reserved.number


@contextlib.contextmanager
def with_quota(port: int) -> Iterator[None]:
    """Make the znodes of the load, under a quota that they do not reach."""
    make_znodes(port)
    limits = b"count=1000000,bytes=1000000000"
    with RawClient(port) as client:
        client.connect()
        for path, data in (
            ("/zookeeper/quota/bench", b""),
            ("/zookeeper/quota/bench/zookeeper_limits", limits),
            ("/zookeeper/quota/bench/zookeeper_stats", b"count=0,bytes=0"),
        ):
            client.create(path, data)
    yield


@contextlib.contextmanager
def _watching(port: int, work: str) -> Iterator[None]:
    """Where there are writes, let one client hear of each."""
    if work == "get":
        yield
        return
    make_znodes(port)
    mode = AddWatchMode.PERSISTENT_RECURSIVE
    with RawClient(port) as client:
        client.connect(30_000)
        client.request(OpCode.ADD_WATCH, pack_ustring("/bench") + INT.pack(mode))
        reading = threading.Thread(target=_read_on, args=(client.socket,))
        reading.start()
        yield
        client.socket.shutdown(socket.SHUT_RDWR)
        reading.join()


def _read_on(connection: socket.socket) -> None:
    """Read to the end, whatever it is."""
    connection.settimeout(None)
    while connection.recv(1 << 20):
        pass


def main() -> None:
    """Measure and print."""
    parts: dict[str, tuple[str, str, Callable[[float], dict[str, float]]]] = {
        "znodes": (f"{MANY:,} znodes", f"of the throughput at {FEW:,}", by_znodes),
        "children": ("getChildren", "ns a child", by_children),
        "memory": ("memory", "bytes a znode", lambda _: by_memory()),
        "features": ("features", "of the throughput with none", by_feature),
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("seconds", nargs="?", type=float, default=4.0, help="of each load")
    parser.add_argument("--only", choices=[*parts, CAPACITY], help="the part to measure")
    arguments = parser.parse_args()
    rounds, seconds, only = arguments.rounds, arguments.seconds, arguments.only
    console = Console()
    servers.touch_memory()
    for name, (title, unit, measure) in parts.items():
        if only not in {None, name}:
            continue
        found = [measure(seconds) for _ in range(rounds)]
        table = Table("", unit, title=title)
        for row in found[0]:
            table.add_row(row, f"{statistics.median(each[row] for each in found):,.2f}")
        console.print(table)
    if only in {None, CAPACITY}:
        capacity.show(rounds, seconds, console)


if __name__ == "__main__":
    main()
