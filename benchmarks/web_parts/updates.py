"""How soon a hundred pages show a change of one subtree, and the memory that they need.

A hundred browsers do not fit on one machine. So some pages are open in Chromium, which notes when
their text changes, and the others are programs that read the same stream as a page. All pages show
the znode with many children, and one child whose data count the writes.
"""

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import httpx2

from benchmarks.web_parts.processes import WIDE, Web, chromium, name_of, web, wide_server
from zoolet.client import Client

PAGES: Final = 100
TABS: Final = 3
WRITES_PER_S: Final = 10

_SHOWN: Final = f"{WIDE}/{name_of(0)}"
_PERIOD_S: Final = 1 / WRITES_PER_S
_LATE_S: Final = 3.0
_OBSERVE: Final = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const found = document.querySelector("#znode pre.data[aria-label='Data as text']");
    if (found) window.seen.push([Number(found.textContent), Date.now() / 1000]);
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""

Seen = list[tuple[int, float]]
"""The numbers that a page showed, each with its time."""


@dataclass
class _Streams:
    """The pages that are programs; they run on a thread of their own."""

    url: str
    ready: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    stop: threading.Event = field(default_factory=threading.Event)
    seen: list[Seen] = field(default_factory=list)

    def run(self) -> None:
        """Read the streams until told to stop."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(limits=limits, timeout=None) as session:
            tasks = [asyncio.create_task(self._read(session)) for _ in range(PAGES - TABS)]
            while not self.stop.is_set():
                await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, session: httpx2.AsyncClient) -> None:
        mine: Seen = []
        self.seen.append(mine)
        async with session.stream("GET", self.url) as answer:
            answer.raise_for_status()
            self.ready.release()
            event = ""
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event == "znode":
                    html = json.loads(line[5:])["html"]
                    if html:
                        mine.append((number_in(html), time.time()))


def measure(children: int, seconds: float) -> Mapping[str, float]:
    """Return the figures of one round."""
    with (
        wide_server(children) as server,
        web(server.port) as page,
        chromium() as browser,
        Client(f"127.0.0.1:{server.port}") as zk,
    ):
        zk.set(_SHOWN, b"0")
        streams = _Streams(_stream_url(page))
        thread = threading.Thread(target=streams.run)
        thread.start()
        try:
            for _ in range(PAGES - TABS):
                if not streams.ready.acquire(timeout=60):
                    raise RuntimeError("a stream of the page did not open")
            tabs = [_open(browser, page) for _ in range(TABS)]
            written = _write(zk, seconds)
            time.sleep(_LATE_S)
            used_mb = page.usage().resident_mb
            seen = [[(int(a), b) for a, b in tab.evaluate("window.seen")] for tab in tabs]
        finally:
            streams.stop.set()
            thread.join()
    return {
        "update of a page, p99, s": p99(written, [*seen, *streams.seen]),
        "update of a page in Chromium, p99, s": p99(written, seen),
        "process, 100 pages, MB": used_mb,
    }


def _stream_url(page: Web) -> str:
    return f"{page.url}/c/local/live?{urlencode({'znode': _SHOWN, 'branch': WIDE})}"


def _open(browser: Any, page: Web) -> Any:
    """Open a tab in a new profile, and wait until it follows the changes."""
    tab = browser.new_context(viewport={"width": 1200, "height": 800}).new_page()
    with tab.expect_response(lambda answer: "/live?" in answer.url):
        tab.goto(f"{page.url}/c/local/tree?{urlencode({'root': WIDE, 'path': _SHOWN})}")
    tab.get_by_text(name_of(0), exact=True).first.wait_for()
    tab.evaluate(_OBSERVE)
    return tab


def _write(zk: Client, seconds: float) -> Seen:
    """Change the data and the list of children again and again; return when each write ended."""
    written: Seen = []
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        number = len(written) + 1
        zk.create(f"{WIDE}/new-{number:05d}")
        zk.set(_SHOWN, str(number).encode())
        written.append((number, time.time()))
        time.sleep(_PERIOD_S)
    return written


def number_in(html: str) -> int:
    """Return the number that the page of a znode shows as its data."""
    return int("".join(filter(str.isdigit, html.rpartition("<bdi>")[2].partition("<")[0])))


def p99(written: Seen, pages: list[Seen]) -> float:
    """Return the p99 of the time from the end of a write until a page shows it or a later one."""
    delays = []
    for seen in pages:
        for number, ended in written:
            shown = next((at for found, at in seen if found >= number), None)
            if shown is None:
                raise RuntimeError(f"a page did not show write {number} of {len(written)}")
            delays.append(max(0.0, shown - ended))
    return statistics.quantiles(delays, n=100)[98]
