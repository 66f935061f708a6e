"""The metrics of an archiver (docs/backup.md)."""

from collections.abc import Iterator

from zoolet.archive.metrics import Figure
from zoolet.archive.writing.status import State, Status


def figures(status: Status) -> Iterator[Figure]:
    """Yield the current figures."""
    yield Figure(
        "zoolet_archive_last_zxid", "The zxid of the last archived txn.", status.archived_zxid
    )
    yield Figure(
        "zoolet_archive_last_time_seconds",
        "The time of the last archived txn, in seconds since the epoch.",
        status.archived_ms / 1000,
    )
    yield Figure(
        "zoolet_archive_lag_seconds",
        "The age of the oldest txn that is not archived, or the time without the server.",
        status.lag_s(),
    )
    yield Figure(
        "zoolet_archive_lag_txns",
        "The number of txns that wait for their upload, at the last look.",
        status.waiting_txns,
    )
    yield Figure("zoolet_archive_timeline", "The number of the timeline.", status.timeline)
    yield Figure(
        "zoolet_archive_up",
        "Whether the archiver follows the server and the store works.",
        status.state is State.ARCHIVING,
    )
    counters = {
        "zoolet_archive_uploaded_bytes": ("Uploaded bytes.", status.uploaded_bytes()),
        "zoolet_archive_segments": ("Uploaded segments of txns.", status.segments),
        "zoolet_archive_snapshots": ("Uploaded snapshots.", status.snapshots),
        "zoolet_archive_errors": ("Failed requests to the store.", status.errors),
        "zoolet_archive_gaps": ("Recorded gaps.", status.gaps),
    }
    for name, (meaning, value) in counters.items():
        yield Figure(name, meaning, value, counts=True)
