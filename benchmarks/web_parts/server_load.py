"""What the loading of a wide znode costs other clients of the server.

First, the server and the load generator get a core before all other processes. The load generator
runs alone and beside the page, LOADS times each, in turn: one p99 alone differs too much from the
next one. These times show what the server does while it sends the list.
Then all processes share the cores: beside the page, and beside a program that uses as much CPU time
as the page, but asks the server for nothing. On few cores, both make the server and the load
generator wait for a core, for up to a tick of the kernel.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.native import start_load
from benchmarks.web_parts.processes import WIDE, Web, web, wide_server
from zoolet.client import Client, CreateMode

CONNECTIONS, RATE_PER_S = 64, 10_000
WARMUP_S = 1.0
PAUSE_S = 1.0
"""The time between two loadings of the list."""
LOADS = 3

_TIMEOUT_S = 60.0

_BUSY = """
import sys, time
busy_s, pause_s = map(float, sys.argv[1:])
print(flush=True)
while True:
    until_s = time.process_time() + busy_s
    while time.process_time() < until_s:
        sorted([f"child-{number * 7919 % 10000:07d}" for number in range(10000)])
    time.sleep(pause_s)
"""


def measure(children: int, seconds: float) -> Mapping[str, float]:
    """Return the figures of one round."""
    with wide_server(children) as server:
        with web(server.port) as page:
            _put_first(server.pid)
            alone, beside = [], []
            before = page.usage()
            loaded: list[int] = []
            for _ in range(LOADS):
                alone.append(_load(server.port, seconds, is_first=True))
                with _loading(page, server.port, loaded):
                    beside.append(_load(server.port, seconds, is_first=True))
            if not loaded:
                raise RuntimeError("the page did not load the list once during the load")
            used_s = (page.usage().cpu_s - before.cpu_s) / len(loaded)
            _put_first(server.pid, os.SCHED_OTHER)
            with _loading(page, server.port, []):
                shared = _load(server.port, seconds)
        with _busy(used_s):
            busy = _load(server.port, seconds)
    alone_ms = statistics.median(load["p99_us"] / 1000 for load in alone)
    beside_ms = statistics.median(load["p99_us"] / 1000 for load in beside)
    return {
        "p99 of getData without the page, ms": alone_ms,
        "p99 of getData with the page, ms": beside_ms,
        "p99 of getData with the page ÷ without": beside_ms / alone_ms,
        "longest pause of the server without, ms": max(load["max_us"] / 1000 for load in alone),
        "longest pause of the server, ms": max(load["max_us"] / 1000 for load in (*beside, shared)),
        "all share the cores: p99 of getData with the page, ms": shared["p99_us"] / 1000,
        "all share the cores: p99 beside a busy program, ms": busy["p99_us"] / 1000,
        "CPU time of the page for a list, s": used_s,
        "lists loaded": float(len(loaded)),
    }


def _put_first(pid: int, policy: int = os.SCHED_FIFO) -> None:
    """Let the threads of a process run before all processes without real-time priority.

    Raises:
        SystemExit: the user may not do this.
    """
    priority = os.sched_param(0 if policy == os.SCHED_OTHER else 1)
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), policy, priority)
    except PermissionError:
        raise SystemExit(
            "This benchmark gives the server real-time priority. Otherwise it would measure how"
            " long the server waits for a core. Run it as root."
        ) from None


def _load(port: int, seconds: float, *, is_first: bool = False) -> dict[str, Any]:
    load = start_load(
        *("requests", port, CONNECTIONS, 1, WARMUP_S, seconds, "get"),
        settings={"RATE": RATE_PER_S},
    )
    if is_first:
        _put_first(load.pid)
    printed: dict[str, Any] = json.loads(load.communicate()[0])
    return printed


@contextlib.contextmanager
def _loading(page: Web, port: int, loaded: list[int]) -> Iterator[None]:
    """Let the page load the list again and again; add the numbers of children it counted."""
    stop = threading.Event()
    thread = threading.Thread(target=_load_lists, args=(page, port, stop, loaded))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _load_lists(page: Web, port: int, stop: threading.Event, loaded: list[int]) -> None:
    """Change the list and let the page load it, until told to stop; collect what it counted.

    Each time, the child that was created before is deleted: so the server encodes names again.
    """
    url = f"{page.url}/c/local/children?path={WIDE}&start=0&count=200"
    with Client(f"127.0.0.1:{port}") as zk:
        while True:
            path = zk.create(f"{WIDE}/new-", mode=CreateMode.PERSISTENT_SEQUENTIAL).path
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                loaded.append(json.load(answer)["total"])
            zk.delete(path)
            if stop.wait(PAUSE_S):
                break


@contextlib.contextmanager
def _busy(busy_s: float) -> Iterator[None]:
    """Run a program that uses this CPU time, then pauses as the page does, again and again."""
    with subprocess.Popen(
        [sys.executable, "-c", _BUSY, str(busy_s), str(PAUSE_S)], stdout=subprocess.PIPE
    ) as program:
        try:
            if program.stdout:
                program.stdout.readline()
            yield
        finally:
            program.kill()
