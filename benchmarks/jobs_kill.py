"""What becomes of jobs when a worker is killed, beside other job systems, all by default.

JOBS jobs of 50 ms, two workers, one of which is killed by -9 with all of its processes when half of
the jobs were begun. Printed is how many results there are within 60 s, how many tasks were begun
more than once, and when the last result came. Usage: python -m benchmarks.jobs_kill [JOBS [PEER
...]].
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.jobpeers import PEERS, run_peer, syncs_of, zoolet
from tests.support.jobs import assert_done_once
from zoolet.jobs import JobRequest

WAIT_S = 60.0


def measure_zoolet(jobs: int) -> dict[str, float]:
    """Return the results in time, the tasks begun twice, and the seconds to the last result."""
    with tempfile.TemporaryDirectory(prefix="zoolet-bench-") as home:
        log = Path(home) / "begun"
        os.environ["BEGUN_LOG"] = str(log)
        with zoolet(2) as (dispatcher, workers):
            began = time.monotonic()
            batch = dispatcher.submit_batch(
                [JobRequest("zoolet_tasks:slow", "d", "g", {"n": number}) for number in range(jobs)]
            )
            finished = []
            last = began
            killed = False
            while (left_s := began + WAIT_S - time.monotonic()) > 0:
                job = batch.next_result(min(left_s, 0.05))
                if job is not None:
                    finished.append(job)
                    last = time.monotonic()
                elif not batch.outstanding:
                    break
                if not killed and log.exists() and log.read_text().count("\n") >= jobs // 2:
                    workers[0].process.send_signal(signal.SIGKILL)
                    killed = True
            assert_done_once(dispatcher.queue, batch, finished)
        del os.environ["BEGUN_LOG"]  # the others have logs of their own
        begun = log.read_text().split()
    return {
        "results": len(finished),
        "begun_twice": len(begun) - len(set(begun)),
        "seconds": last - began,
    }


def main() -> None:
    """Measure and print."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    table = Table(
        "", "results", "begun twice", "last result", title=f"{jobs} jobs, a worker killed"
    )
    found: dict[str, dict[str, float] | None] = {"zoolet": measure_zoolet(jobs)}
    for peer in sys.argv[2:] or PEERS:
        found[peer] = run_peer(peer, "kill", jobs, syncs_of(peer)[0])
    for name, figures in found.items():
        if figures is None:
            table.add_row(name, "-", "-", "-")
            continue
        table.add_row(
            name,
            f"{figures['results']:.0f}",
            f"{figures['begun_twice']:.0f}",
            f"{figures['seconds']:.1f} s",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
