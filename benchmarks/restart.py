"""How long a restart takes with many znodes, and how much memory it then has, beside Apache's.

Both start on copies of the same data directory, a snapshot of ZNODES znodes of 100 bytes. Prints
the medians of ROUNDS rounds and their ratio. Usage: python -m benchmarks.restart [ZNODES [ROUNDS
[JARS]]].
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from zoolet.core.tree import Tree
from zoolet.model.acl import OPEN_ACL
from zoolet.storage.disk import Disk
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.apache import DEBIAN_JARS
from zoolet.testing.process import ProcessServer

CHILDREN_PER_PARENT = 1000
DATA = b"x" * 100
SETTINGS = {"tickTime": 2000}


def write_znodes(directory: Path, znodes: int) -> None:
    """Write a snapshot with so many znodes, a thousand under each parent."""
    tree = Tree.fresh()
    for number in range(znodes // CHILDREN_PER_PARENT):
        parent = f"/p{number:05d}"
        tree.create(parent, b"", OPEN_ACL, 0, -1, 1, 1)
        for child in range(CHILDREN_PER_PARENT):
            tree.create(f"{parent}/c{child:05d}", DATA, OPEN_ACL, 0, -1, 1, 1)
    directory.mkdir(parents=True)
    write_snapshot(Disk(), directory, Image(1, tree, {}))


def start_once(server: ProcessServer, prepared: Path) -> tuple[float, float]:
    """Return the seconds to the first answer, and the MB that are then resident."""
    data = server.directory / "data" / "version-2"
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(prepared, data)
    began = time.perf_counter()
    with server:
        while not server.ask("srvr").startswith("Zookeeper version"):
            time.sleep(0.01)
        taken_s = time.perf_counter() - began
        status = Path(f"/proc/{server.pid}/status").read_text()
    (resident,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return taken_s, int(resident.split()[1]) / 1000


def main() -> None:
    """Measure and print."""
    znodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    jars = Path(sys.argv[3]) if len(sys.argv) > 3 else DEBIAN_JARS
    home = Path(tempfile.mkdtemp(prefix="zoolet-bench-"))
    try:
        write_znodes(home / "prepared", znodes)
        servers = {
            "Apache ZooKeeper": ApacheServer(
                home / "apache", jars, SETTINGS, java_options=("-Xmx1000m",)
            ),
            "zoolet": ServerProcess(home / "zoolet", SETTINGS),
        }
        medians = {}
        for name, server in servers.items():
            measured = [start_once(server, home / "prepared") for _ in range(rounds)]
            medians[name] = [statistics.median(figures) for figures in zip(*measured, strict=True)]
    finally:
        shutil.rmtree(home)
    table = Table("", "restart", "resident", title=f"{znodes:,} znodes of {len(DATA)} bytes")
    for name, (taken_s, resident_mb) in medians.items():
        table.add_row(name, f"{taken_s:.2f} s", f"{resident_mb:,.0f} MB")
    apache, zoolet = medians.values()
    table.add_row("ratio", f"{zoolet[0] / apache[0]:.2f}", f"{zoolet[1] / apache[1]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
