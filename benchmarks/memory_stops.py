"""Whether this machine stops a program that only reads memory.

A server with millions of znodes reads memory that no cache has. On some virtual machines, such
reads take a hundred times as long for up to a second. This program shows it without a server: it
reads 2 GiB at random, in bursts of 2,000 reads, and prints the longest burst. Meanwhile it writes
and syncs 50 MB a second, as a server does. Usage: python -m benchmarks.memory_stops [SECONDS].
"""

import argparse
import os
import threading
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import servers
from benchmarks.native import run_load

MEMORY_BYTES: Final = 2 << 30
WRITE_BYTES: Final = 1 << 20
WRITES_PER_S: Final = 50
WRITES_PER_FILE: Final = 64
STARTING_S: Final = 60.0


def write_files(directory: Path, stop: threading.Event) -> None:
    """Write and sync files, which replace each other, until ``stop`` is set."""
    block = os.urandom(WRITE_BYTES)
    began_s, count = time.monotonic(), 0
    while not stop.is_set():
        with (directory / "file").open("wb", buffering=0) as file:
            for _ in range(WRITES_PER_FILE):
                file.write(block)
                os.fdatasync(file.fileno())
                count += 1
                time.sleep(max(0.0, began_s + count / WRITES_PER_S - time.monotonic()))


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=180.0)
    seconds = parser.parse_args().seconds
    stop = threading.Event()
    with servers.scratch() as directory:
        writing = threading.Thread(target=write_files, args=(directory, stop))
        writing.start()
        try:
            found = run_load(
                MEMORY_BYTES, seconds, program="memory_stops", timeout_s=seconds + STARTING_S
            )
        finally:
            stop.set()
            writing.join()
    console = Console()
    console.print(f"{found['bursts']:,} bursts, which took {found['mean_ms']:.2f} ms on average")
    console.print(f"the longest: {found['longest_ms']:.1f} ms; over 5 ms: {found['over_5_ms']}")


if __name__ == "__main__":
    main()
