"""Real worker processes for tests."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[2]
WAIT_S = 20.0


@contextmanager
def worker_process(
    hosts: str, queue: str, *options: str, log: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run ``zoolet worker`` on a queue; it is killed at the end if it still runs."""
    with (
        (log or Path(os.devnull)).open("wb") as output,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "zoolet", "worker", "--server", hosts, "--queue", queue),
                *("--loader", "tests.support.jobtasks:load", "--import-path", str(PROJECT)),
                *("--session-timeout", "0.8", *options),
            ],
            stderr=output,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return when ``condition`` holds, which another process brings about."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about in {WAIT_S} s"
        time.sleep(0.01)
