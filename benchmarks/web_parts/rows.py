"""How soon the first names of a wide znode are there, and the memory that they need."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.web_parts.processes import WIDE, chromium, heap_mb, name_of, web, wide_server
from zoolet.client import Client

_TIMEOUT_MS = 120_000
_FIRST = f"text={name_of(0)}"


def measure(children: int, _seconds: float) -> Mapping[str, float]:
    """Return the figures of one round."""
    with wide_server(children) as server, chromium() as browser:
        with web(server.port) as page:
            empty_mb = page.usage().resident_mb
            first_s, ours_mb, ours = _open(browser, page.tree_url(), f"{children:,} children")
            again_s, _, _ = _open(browser, page.tree_url(), f"{children:,} children")
            filled_mb = page.usage().resident_mb
        with Client(f"127.0.0.1:{server.port}") as zk, _all_at_once(zk) as url:
            all_s, theirs_mb, theirs = _open(browser, url, "")
    return {
        "first rows, s": first_s,
        "first rows again, s": again_s,
        "heap of the browser, MB": ours_mb,
        "elements in the browser": ours,
        "process of the page, MB": filled_mb,
        "process of the page before, MB": empty_mb,
        "all children at once: first rows, s": all_s,
        "all children at once: heap, MB": theirs_mb,
        "all children at once: elements": theirs,
    }


def _open(browser: Any, url: str, count: str) -> tuple[float, float, float]:
    """Open a page in a new profile.

    Returns the s until its names are there, the MB of its heap, and the number of its elements.
    """
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    tab = context.new_page()
    tab.set_default_timeout(_TIMEOUT_MS)
    began = time.perf_counter()
    tab.goto(url, wait_until="commit")
    tab.locator(_FIRST).first.wait_for()
    if count:
        tab.get_by_text(count).wait_for()
    taken_s = time.perf_counter() - began
    elements = float(tab.evaluate("document.getElementsByTagName('*').length"))
    used_mb = heap_mb(tab)
    context.close()
    return taken_s, used_mb, elements


@contextlib.contextmanager
def _all_at_once(zk: Client) -> Iterator[str]:
    """Serve a page that has an element for each child, as simple pages for ZooKeeper do."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            names = sorted(zk.children(WIDE).names)
            body = "<ul>" + "".join(f"<li>{name}</li>" for name in names) + "</ul>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the tab closes at the first names
                self.wfile.write(body.encode())

        def log_request(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
