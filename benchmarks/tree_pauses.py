"""How long single steps of the tree take when it has many znodes; no server and no disk.

Creates ZNODES znodes of 100 bytes, 1,000 below each parent or all below one (``--flat``). Then
takes an image for a snapshot, and changes znodes while the content of the image is read. Prints the
CPU time of the longest step of each kind, which other programs hardly affect, and the bytes of
memory for each znode without its data. Usage: python -m benchmarks.tree_pauses [ZNODES] [--flat].
"""

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from zoolet.model.acl import OPEN_ACL
from zoolet.process.memory import resident_bytes
from zoolet.state_machine.tree import Tree
from zoolet.storage.snapshots import Image

CHILDREN = 1000
DATA = b"x" * 100
CHANGES_BETWEEN = 300
"""The number of changes between two chunks of a snapshot."""

clock = time.thread_time


class Longest:
    """The longest and the total duration of calls."""

    def __init__(self) -> None:
        self.longest_s = self.total_s = 0.0
        self.count = 0

    def time(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function, and return its result."""
        began_s = clock()
        result = call(*arguments)
        spent_s = clock() - began_s
        self.longest_s = max(self.longest_s, spent_s)
        self.total_s += spent_s
        self.count += 1
        return result

    def row(self) -> tuple[str, str]:
        """Return the texts of the longest and of the mean duration."""
        return f"{self.longest_s * 1e3:.2f} ms", f"{self.total_s / self.count * 1e6:.2f} µs"


def grow(tree: Tree, znodes: int, children: int, creates: Longest) -> list[str]:
    """Create the znodes, and return the paths of some of them."""
    some = []
    for number in range(znodes):
        parent = f"/p{number // children}"
        if number % children == 0:
            tree.create(parent, "/", b"", OPEN_ACL, 0, -1, 1, 1)
        path = f"{parent}/k{number:08}"
        creates.time(tree.create, path, parent, DATA, OPEN_ACL, 0, -1, number + 1, 1)
        if number % 7 == 0:
            some.append(path)
    return some


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree_pauses", description=__doc__)
    parser.add_argument("znodes", nargs="?", type=int, default=3_000_000)
    parser.add_argument("--flat", action="store_true", help="all znodes are below one parent")
    options = parser.parse_args()
    gc.disable()
    tree = Tree.fresh()
    before_bytes = resident_bytes()
    creates, begin, chunks, changes = Longest(), Longest(), Longest(), Longest()
    some = grow(tree, options.znodes, options.znodes if options.flat else CHILDREN, creates)
    list_bytes = len(some) * 8
    each_bytes = (resident_bytes() - before_bytes - list_bytes) / options.znodes - len(DATA)
    image = begin.time(Image, 1, tree, {})
    content = image.content()
    changing = iter(some)
    while (chunk := chunks.time(next, content, None)) is not None:
        del chunk
        for path, _ in zip(changing, range(CHANGES_BETWEEN), strict=False):
            changes.time(tree.set_data, path, DATA, 2, 2, 2)
    table = Table("", "longest", "mean", title=f"{options.znodes:,} znodes")
    for name, found in (
        ("create", creates),
        ("begin of an image", begin),
        ("chunk", chunks),
        ("setData during the image", changes),
    ):
        table.add_row(name, *found.row())
    console = Console()
    console.print(table)
    console.print(f"memory of a znode without its data: {each_bytes:.0f} bytes")


if __name__ == "__main__":
    main()
