"""What the loading of a wide znode costs other clients of the server.

The load generator runs three times: alone, beside the page, and beside a program that uses as much
CPU time as the page, but asks the server for nothing. On few cores, that program also makes the
server wait for a core. So the third time shows which part of the delay comes from the server.
"""

import contextlib
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.native import start_load
from benchmarks.web_parts.processes import WIDE, Web, web, wide_server
from zoolet.client import Client

CONNECTIONS, RATE_PER_S = 64, 10_000
WARMUP_S = 1.0
PAUSE_S = 1.0
"""The time between two loadings of the list."""

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
            alone = _load(server.port, seconds)
            before = page.usage()
            with _loading(page, server.port) as loaded:
                beside = _load(server.port, seconds)
            used_s = page.usage().cpu_s - before.cpu_s
        if not loaded:
            raise RuntimeError("the page did not load the list once during the load")
        with _busy(used_s / len(loaded)):
            busy = _load(server.port, seconds)
    return {
        "p99 of getData without the page, ms": alone["p99_us"] / 1000,
        "p99 of getData with the page, ms": beside["p99_us"] / 1000,
        "p99 of getData beside a busy program, ms": busy["p99_us"] / 1000,
        "p99 of getData with the page ÷ without": beside["p99_us"] / alone["p99_us"],
        "p99 of getData with the page ÷ beside a busy program": beside["p99_us"] / busy["p99_us"],
        "longest pause of the server without, ms": alone["max_us"] / 1000,
        "longest pause of the server, ms": beside["max_us"] / 1000,
        "longest pause of the server beside a busy program, ms": busy["max_us"] / 1000,
        "CPU time of the page for a list, s": used_s / len(loaded),
        "lists loaded": float(len(loaded)),
    }


def _load(port: int, seconds: float) -> dict[str, Any]:
    load = start_load(
        *("requests", port, CONNECTIONS, 1, WARMUP_S, seconds, "get"),
        settings={"RATE": RATE_PER_S},
    )
    printed: dict[str, Any] = json.loads(load.communicate()[0])
    return printed


@contextlib.contextmanager
def _loading(page: Web, port: int) -> Iterator[list[int]]:
    """Let the page load the list again and again; yields the numbers of children it counted."""
    stop = threading.Event()
    loaded: list[int] = []
    thread = threading.Thread(target=_load_lists, args=(page, port, stop, loaded))
    thread.start()
    try:
        yield loaded
    finally:
        stop.set()
        thread.join()


def _load_lists(page: Web, port: int, stop: threading.Event, loaded: list[int]) -> None:
    """Change the list and let the page load it, until told to stop; collect what it counted.

    A child is created, and the one before is deleted: then the server encodes all names again.
    """
    url = f"{page.url}/c/local/children?path={WIDE}&start=0&count=200"
    with Client(f"127.0.0.1:{port}") as zk:
        number = 0
        while not stop.wait(PAUSE_S if number else 0):
            zk.create(f"{WIDE}/new-{number:04d}")
            if number:
                zk.delete(f"{WIDE}/new-{number - 1:04d}")
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                loaded.append(json.load(answer)["total"])
            number += 1


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
