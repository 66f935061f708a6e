"""Runs the measurements of the table: in each round, each side once, every second round in reverse.

A side is a server with its load. It starts on a directory of its own, and ends afterwards.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console

from benchmarks import servers
from benchmarks.restart import CHILDREN_PER_PARENT, write_znodes
from benchmarks.table.rows import Figures, Found, Row

PIPELINED, MANY_CLIENTS, ALONE = (16, 32), (64, 1), (1, 1)
"""Numbers of connections, and of outstanding requests of each."""
SHAPES: Final = (PIPELINED, MANY_CLIENTS, ALONE)


class Bench:
    """How the measurements of this run are made, and the data directories that they share.

    Attributes:
        seconds: how long each load is measured.
        warmup_s: how long it runs before.
        settle_s: how long a started server has before its memory is read.
        scale: by how much the numbers of znodes, sessions and watchers are multiplied.
        directory: where the data directories of all servers are, on the disk to measure.
    """

    def __init__(
        self, directory: Path, seconds: float, warmup_s: float, settle_s: float, scale: float
    ) -> None:
        self.directory = directory
        self.seconds = seconds
        self.warmup_s = warmup_s
        self.settle_s = settle_s
        self.scale = scale
        self._prepared: dict[str, Path] = {}

    def size(self, full: int) -> int:
        """Return a number of znodes, sessions or watchers, as large as this run has it."""
        return max(1, round(full * self.scale))

    def num_parents(self, znodes: int) -> int:
        """Return how many parents ``with_znodes`` makes for these znodes."""
        return max(1, self.size(znodes) // CHILDREN_PER_PARENT)

    @contextmanager
    def home(self) -> Iterator[Path]:
        """Make a directory for one server, which is removed afterwards."""
        with servers.scratch(self.directory) as home:
            yield home

    def with_znodes(self, home: Path, znodes: int) -> None:
        """Give a server a snapshot of these znodes, in parents of 1,000 each."""
        parents = self.num_parents(znodes)
        wanted = parents * CHILDREN_PER_PARENT
        self.prepared(home, f"{wanted}", lambda new: write_znodes(new, wanted))

    def prepared(self, home: Path, name: str, write: Callable[[Path], None]) -> None:
        """Give a server the data directory that is written once in a run."""
        if name not in self._prepared:
            shared = self.directory / f"prepared-{name}" / "version-2"
            write(shared)
            self._prepared[name] = shared
        shutil.copytree(self._prepared[name], home / "data" / "version-2", copy_function=_copy)


def _copy(source: str, target: str) -> None:
    """Copy a log, to which a server appends; link a snapshot, which no server changes."""
    if Path(source).name.startswith("snapshot."):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


Measure = Callable[[Bench], Figures]


class Measurement(NamedTuple):
    """What is measured at once, for one row or for several.

    Attributes:
        name: the name, which rows refer to.
        sides: what runs in each round, by the name of the server or of its variant.
    """

    name: str
    sides: Mapping[str, Measure]


def measure(
    rows: Sequence[Row], measurements: Sequence[Measurement], bench: Bench, rounds: int
) -> Found:
    """Run what the rows need, and report each figure on standard error."""
    progress = Console(stderr=True)
    needed = {row.measurement for row in rows}
    found: Found = {}
    for number in range(rounds):
        for measurement in measurements:
            if measurement.name not in needed:
                continue
            sides = list(measurement.sides.items())[:: 1 if number % 2 == 0 else -1]
            for side, run in sides:
                figures = run(bench)
                by_side = found.setdefault(
                    measurement.name, {name: [] for name in measurement.sides}
                )
                by_side[side].append(figures)
                progress.print(f"{measurement.name}, {side}: {figures}", soft_wrap=True)
    return found
