"""How many jobs a second, and how long one takes, beside other job systems.

JOBS no-op jobs with their results, two workers, one submitter, all on this machine; then 200 jobs
one at a time. zoolet syncs every change to disk; Redis, under the others, syncs every second, or
always; PostgreSQL, under procrastinate and dramatiq_pg, syncs every change; Dask and Ray keep
nothing on disk. Usage: python -m benchmarks.jobs_throughput [JOBS
[PEER_JOBS [PEER ...]]].
"""

import sys

from rich.console import Console
from rich.table import Table

from benchmarks.jobpeers import PEERS, run_peer, syncs_of, zoolet
from benchmarks.jobs_rows import throughput

SINGLE_JOBS = 200


def main() -> None:
    """Measure and print."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    peer_jobs = int(sys.argv[2]) if len(sys.argv) > 2 else jobs
    table = Table("", "on disk", "jobs/s", "one at a time, p50", title="no-op jobs with results")
    with zoolet(2) as (dispatcher, _):
        rate, median_ms = throughput(dispatcher, jobs, SINGLE_JOBS)
    table.add_row("zoolet", "always", f"{rate:,.0f} of {jobs:,}", f"{median_ms:.1f} ms")
    for peer in sys.argv[3:] or PEERS:
        for fsync in syncs_of(peer):
            found = run_peer(peer, "throughput", peer_jobs, fsync)
            one = run_peer(peer, "single", SINGLE_JOBS, fsync)
            table.add_row(
                peer,
                fsync,
                "-" if found is None else f"{peer_jobs / found['seconds']:,.0f} of {peer_jobs:,}",
                "-" if one is None else f"{one['p50_ms']:.1f} ms",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
