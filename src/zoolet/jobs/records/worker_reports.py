"""Decodes workers' reports, the values of the workers' znodes.

Any program may have written such a value, so fields of a wrong type are left out. This module
imports other modules of its package.
"""

from typing import Any

from zoolet.jobs.records.job_values import is_text
from zoolet.jobs.records.json_values import decode_object

TEXTS = frozenset({"host", "kind", "version"})
NUMBERS = frozenset(
    {
        "pid",
        "executors",
        "groups",
        "successful",
        "failed_attempts",
        "failed",
        "lost",
        "cache_hits",
        "cache_misses",
        "busy_s",
        "queues",
        "weight",
        "weights",
    }
)
_NUMBER_MOST = 2**62


def decode_report(data: bytes) -> dict[str, Any]:
    """Return the fields of a worker's report, without fields of a wrong type.

    A field that this version does not know is returned unchanged.
    """
    return {name: value for name, value in decode_object(data).items() if _is_right(name, value)}


def executors_text(report: dict[str, Any]) -> str:
    """Return the number of a worker's executors, and this queue's share of them."""
    executors = str(report.get("executors", "?"))
    if report.get("queues", 1) == 1:
        return executors
    share = f"{report.get('weight', '?')}/{report.get('weights', '?')}"
    return f"{executors}, share {share} of {report['queues']} queues"


def _is_right(name: str, value: object) -> bool:
    if name in NUMBERS:
        return type(value) in {int, float} and 0 <= value <= _NUMBER_MOST  # type: ignore[operator]
    return name not in TEXTS or is_text(value)
