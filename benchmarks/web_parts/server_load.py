"""What the loading of a wide znode costs other clients of the server."""

import json
import threading
import urllib.request
from collections.abc import Mapping
from typing import Any

from benchmarks.native import start_load
from benchmarks.web_parts.processes import WIDE, Web, web, wide_server
from zoolet.client import Client

CONNECTIONS, RATE_PER_S = 64, 10_000
WARMUP_S = 1.0
PAUSE_S = 1.0
"""The time between two loadings of the list."""

_TIMEOUT_S = 60.0


def measure(children: int, seconds: float) -> Mapping[str, float]:
    """Return the figures of one round."""
    with wide_server(children) as server, web(server.port) as page:
        alone = _load(server.port, seconds)
        stop = threading.Event()
        loaded: list[int] = []
        loading = threading.Thread(target=_load_lists, args=(page, server.port, stop, loaded))
        loading.start()
        beside = _load(server.port, seconds)
        stop.set()
        loading.join()
    if not loaded:
        raise RuntimeError("the page did not load the list once during the load")
    return {
        "p99 of getData without the page, ms": alone["p99_us"] / 1000,
        "p99 of getData with the page, ms": beside["p99_us"] / 1000,
        "p99 of getData with the page ÷ without": beside["p99_us"] / alone["p99_us"],
        "longest pause of the server without, ms": alone["max_us"] / 1000,
        "longest pause of the server, ms": beside["max_us"] / 1000,
        "lists loaded": float(len(loaded)),
    }


def _load(port: int, seconds: float) -> dict[str, Any]:
    load = start_load(
        *("requests", port, CONNECTIONS, 1, WARMUP_S, seconds, "get"),
        settings={"RATE": RATE_PER_S},
    )
    printed: dict[str, Any] = json.loads(load.communicate()[0])
    return printed


def _load_lists(page: Web, port: int, stop: threading.Event, loaded: list[int]) -> None:
    """Change the list and let the page load it, until told to stop; collect what it counted."""
    url = f"{page.url}/c/local/children?path={WIDE}&start=0&count=200"
    with Client(f"127.0.0.1:{port}") as zk:
        number = 0
        while not stop.wait(PAUSE_S if number else 0):
            zk.create(f"{WIDE}/new-{number:04d}")
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                loaded.append(json.load(answer)["total"])
            number += 1
