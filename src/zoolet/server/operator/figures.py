"""The figures of a server: a table with the name, the meaning and the value of each figure.

Source of the names: Apache ZooKeeper's ``ServerMetrics`` and ``ZooKeeperServer``; each figure has
the same meaning as there.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from zoolet.process import descriptors
from zoolet.server.common.ensemble_view import EnsembleView
from zoolet.server.common.stats import Histogram, Summary
from zoolet.server.operator.inspection import Inspector


class Figure(NamedTuple):
    """A number for monitoring.

    Attributes:
        meaning: the description, for Prometheus.
        value: the function that returns the number.
        counts: whether the number is a counter, which never decreases while the server runs.
    """

    meaning: str
    value: Callable[[Inspector], float]
    counts: bool = False


def _count(meaning: str, value: Callable[[Inspector], float]) -> Figure:
    return Figure(meaning, value, counts=True)


FIGURES: Final = {
    "avg_latency": Figure(
        "Mean time in ms from a request to its reply.", lambda of: of.stats.latency.average_ms
    ),
    "max_latency": Figure(
        "Longest time in ms from a request to its reply.", lambda of: of.stats.latency.max_ms
    ),
    "min_latency": Figure(
        "Shortest time in ms from a request to its reply.", lambda of: of.stats.latency.min_ms
    ),
    "packets_received": _count("Requests received.", lambda of: of.stats.packets_received),
    "packets_sent": _count("Replies and events sent.", lambda of: of.stats.packets_sent),
    "num_alive_connections": Figure("Open connections.", lambda of: of.num_connections),
    "outstanding_requests": Figure(
        "Replies that wait for the disk.", lambda of: of.outstanding_requests
    ),
    "uptime": Figure("Time in ms since the server started.", lambda of: of.uptime_ms),
    "znode_count": Figure("Znodes; the root is counted twice.", lambda of: of.znode_count),
    "watch_count": Figure("Watches.", lambda of: of.num_watches),
    "ephemerals_count": Figure("Ephemeral znodes.", lambda of: of.num_ephemerals),
    "approximate_data_size": Figure(
        "Bytes of all paths and their data.", lambda of: of.tree_size_bytes
    ),
    "global_sessions": Figure("Sessions.", lambda of: of.num_sessions),
    "local_sessions": Figure("Sessions that only one member of an ensemble knows.", lambda _: 0),
    "open_file_descriptor_count": Figure(
        "Open file descriptors.", lambda _: descriptors.open_descriptors()
    ),
    "max_file_descriptor_count": Figure(
        "Limit of open file descriptors.", lambda _: descriptors.limit() or -1
    ),
    "auth_failed_count": _count("Refused authentications.", lambda of: of.stats.auth_failures),
    "connection_rejected": _count(
        "Connections refused because of a limit.", lambda of: of.stats.connections_rejected
    ),
    "sessionless_connections_expired": _count(
        "Connections closed because they opened no session.",
        lambda of: of.stats.sessionless_closed,
    ),
    "unread_connections_expired": _count(
        "Connections closed because their client read nothing.", lambda of: of.stats.unread_closed
    ),
    "connection_request_count": _count(
        "Connect requests.", lambda of: of.stats.connection_requests
    ),
    "connection_revalidate_count": _count(
        "Sessions resumed on a new connection.", lambda of: of.stats.sessions_resumed
    ),
    "bytes_received_count": _count(
        "Bytes received from clients.", lambda of: of.stats.bytes_received
    ),
    "snap_count": _count("Snapshots written.", lambda of: of.stats.snapshots.count),
    "snapshot_error_count": _count(
        "Failed snapshot commands of the admin endpoint.", lambda of: of.stats.snapshot_errors
    ),
    "snapshot_rate_limited_count": _count(
        "Snapshot commands refused by the rate limit.", lambda of: of.stats.snapshots_rate_limited
    ),
    "restore_error_count": _count("Failed restore commands.", lambda of: of.stats.restore_errors),
    "restore_rate_limited_count": _count(
        "Restore commands refused by the rate limit.", lambda of: of.stats.restores_rate_limited
    ),
}
"""The figures by name, in the order in which ``mntr`` shows them."""


def _ensemble(of: Inspector) -> EnsembleView:
    ensemble = of.ensemble
    if ensemble is None:
        raise AssertionError("only an observer has these figures")
    return ensemble


OBSERVER_FIGURES: Final = {
    "following_leader": Figure(
        "1 if the observer follows a leader, 0 otherwise.",
        lambda of: int(_ensemble(of).is_serving),
    ),
    "leader_lag": Figure(
        "The leader's last proposed zxid minus the last applied zxid.", lambda of: of.lag
    ),
    "leader_links": _count(
        "Leaders that the observer has followed.", lambda of: _ensemble(of).links
    ),
}
"""The figures that only an observer has."""


AUDIT_FIGURES: Final = {
    "audit_records_written": _count(
        "Records written to the audit log.", lambda of: of.stats.audit.written
    ),
    "audit_records_lost": _count(
        "Records of the audit log that could not be written.", lambda of: of.stats.audit.lost
    ),
}
"""The figures that only a server with an audit log has."""


def figures(inspector: Inspector) -> dict[str, Figure]:
    """Return the figures of a server by name, in the order in which ``mntr`` shows them."""
    found = FIGURES if inspector.ensemble is None else {**FIGURES, **OBSERVER_FIGURES}
    return found if inspector.config.audit is None else {**found, **AUDIT_FIGURES}


def histograms(inspector: Inspector) -> dict[str, tuple[Histogram, str]]:
    """Return the histograms of the latencies in ms, by name, each with its meaning."""
    stats = inspector.stats
    return {
        "request_latency": (stats.latencies, "Time in ms from a request to its reply."),
        "sync_latency": (stats.sync_latencies, "Time in ms to write and sync a batch of txns."),
    }


def summaries(inspector: Inspector) -> dict[str, tuple[Summary, str]]:
    """Return the summaries of durations in ms, by name, each with its meaning."""
    stats = inspector.stats
    found = {
        "fsynctime": (stats.syncs, "Time in ms to write and sync a batch of txns."),
        "snapshottime": (stats.snapshots, "Time in ms to write a snapshot."),
        "restore_time": (stats.restores, "Time in ms to restore a snapshot."),
    }
    if inspector.ensemble is not None:
        meaning = "Time in ms from the arrival of a txn to the release of its replies and events."
        found["release_time"] = (inspector.ensemble.release_ms, meaning)
    return found
