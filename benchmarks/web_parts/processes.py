"""The processes of the benchmark: a server with a wide znode, ``zoolet web``, and a browser."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import servers
from zoolet.model.acl import OPEN_ACL
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.snapshots import Image, write_snapshot

CHROMIUM = "/usr/bin/chromium"
WIDE = "/wide"
"""The znode with many children."""

_STOP_S = 30.0


class Web(NamedTuple):
    """A ``zoolet web`` that runs: its URL without the last slash, and its process."""

    url: str
    pid: int

    def usage(self) -> servers.Usage:
        """Return what the process has used."""
        return servers.Running(0, self.pid, 0).usage()

    def tree_url(self) -> str:
        """Return the URL of the wide znode."""
        return f"{self.url}/c/local/tree?root={WIDE}&path={WIDE}"


def name_of(number: int) -> str:
    """Return the name of a child of the wide znode; the names are in the order of the numbers."""
    return f"child-{number:07d}"


def write_wide(directory: Path, children: int) -> None:
    """Write a snapshot with one znode that has this number of children."""
    tree = Tree.fresh()
    tree.create(WIDE, "/", b"", OPEN_ACL, 0, -1, 1, 1)
    for number in range(children):
        tree.create(f"{WIDE}/{name_of(number)}", WIDE, b"", OPEN_ACL, 0, -1, 1, 1)
    directory.mkdir(parents=True)
    write_snapshot(Disk(), directory, Image(1, tree, {}))


@contextlib.contextmanager
def wide_server(children: int) -> Iterator[servers.Running]:
    """Run a server with a wide znode."""
    with servers.scratch() as home:
        write_wide(home / "data" / "version-2", children)
        with servers.zoolet(home) as running:
            yield running


@contextlib.contextmanager
def web(port: int) -> Iterator[Web]:
    """Run ``zoolet web`` for a server."""
    command = [sys.executable, "-m", "zoolet", "web", "--listen", "127.0.0.1:0"]
    with (
        servers.scratch() as home,
        (home / "log").open("w") as log,
        subprocess.Popen(
            [*command, "--server", f"local=127.0.0.1:{port}"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            printed = process.stdout.readline() if process.stdout else ""
            if not printed:
                raise RuntimeError((home / "log").read_text())
            yield Web(printed.split()[-1].rstrip("/"), process.pid)
        finally:
            process.terminate()
            process.wait(_STOP_S)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Run Debian's Chromium; raises RuntimeError if it is not installed."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (an event loop at import)

    if not Path(CHROMIUM).exists():
        raise RuntimeError("install Debian's package chromium: make system-packages")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def heap_mb(tab: Any) -> float:
    """Return the heap of JavaScript of a tab after a collection of garbage, in MB."""
    session = tab.context.new_cdp_session(tab)
    session.send("HeapProfiler.collectGarbage")
    found: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return found / 1e6
