"""How long a restart takes with many znodes, and how much memory it then has, beside Apache's.

Both start on copies of the same data directory, a snapshot of ZNODES znodes of 100 bytes, in turn.
Prints the medians of ROUNDS rounds and of their ratios. Usage: python -m benchmarks.restart [ZNODES
[ROUNDS]].
"""

import shutil
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import servers
from zoolet.model.acl import OPEN_ACL
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.snapshots import Image, write_snapshot

CHILDREN_PER_PARENT = 1000
DATA = b"x" * servers.DATA_BYTES


def write_znodes(directory: Path, znodes: int) -> None:
    """Write a snapshot with this number of znodes, a thousand under each parent."""
    tree = Tree.fresh()
    for number in range(znodes // CHILDREN_PER_PARENT):
        parent = f"/p{number:05d}"
        tree.create(parent, "/", b"", OPEN_ACL, 0, -1, 1, 1)
        for child in range(CHILDREN_PER_PARENT):
            tree.create(f"{parent}/c{child:05d}", parent, DATA, OPEN_ACL, 0, -1, 1, 1)
    directory.mkdir(parents=True)
    write_snapshot(Disk(), directory, Image(1, tree, {}))


def main() -> None:
    """Measure and print."""
    znodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    started = {"Apache ZooKeeper": servers.apache, "zoolet": servers.zoolet}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in started}
    with servers.scratch() as scratch:
        prepared = scratch / "prepared"
        write_znodes(prepared, znodes)
        for _ in range(rounds):
            for name, start in started.items():
                with servers.scratch() as home:
                    shutil.copytree(prepared, home / "data" / "version-2")
                    with start(home) as running:
                        found[name].append((running.start_s, running.usage().resident_mb))
    table = Table("", "restart", "resident", title=f"{znodes:,} znodes of {len(DATA)} bytes")
    for name, figures in found.items():
        taken_s, resident_mb = (statistics.median(each) for each in zip(*figures, strict=True))
        table.add_row(name, f"{taken_s:.2f} s", f"{resident_mb:,.0f} MB")
    apache, zoolet = found.values()
    ratios = [
        statistics.median(
            ours[part] / theirs[part] for ours, theirs in zip(zoolet, apache, strict=True)
        )
        for part in range(2)
    ]
    table.add_row("ratio", *(f"{ratio:.2f}" for ratio in ratios))
    Console().print(table)


if __name__ == "__main__":
    main()
