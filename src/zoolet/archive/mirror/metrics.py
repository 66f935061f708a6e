"""The figures of a mirror for Prometheus. Imports the metrics of archives."""

from collections.abc import Iterator

from zoolet.archive.metrics import Figure
from zoolet.archive.mirror.records.figures import Report


def figures_of(report: Report) -> Iterator[Figure]:
    """Yield the figures of a report."""
    figures = report.figures
    yield Figure(
        "zoolet_mirror_lag_seconds",
        "Age of the oldest change of the source that is not copied; 0 if all are copied.",
        report.lag_ms / 1000,
    )
    yield Figure(
        "zoolet_mirror_copied_lag_seconds",
        "Time from the oldest change of the last batch to its copy.",
        figures.copied_lag_ms / 1000,
    )
    yield Figure("zoolet_mirror_waiting", "Changed znodes that are not copied.", report.waiting)
    yield Figure(
        "zoolet_mirror_source_connected", "Whether the source answers.", report.is_connected_from
    )
    yield Figure(
        "zoolet_mirror_target_connected", "Whether the target answers.", report.is_connected_to
    )
    yield Figure("zoolet_mirror_copied", "Created or set copies.", figures.copied, counts=True)
    yield Figure("zoolet_mirror_deleted", "Deleted copies.", figures.deleted, counts=True)
    yield Figure(
        "zoolet_mirror_overwritten",
        "Changes of other clients in the target that were overwritten.",
        figures.overwritten,
        counts=True,
    )
    yield Figure(
        "zoolet_mirror_comparisons",
        "Comparisons of both subtrees.",
        figures.comparisons,
        counts=True,
    )
    yield Figure(
        "zoolet_mirror_unreached_counters",
        "Parents whose counter is too far below that of the source.",
        len(figures.unreached),
    )
