"""Values of options for one of several queues of a worker: ``PATH=VALUE``.

This module imports click, `zoolet.model` and `zoolet.jobs.worker`.
"""

from collections.abc import Sequence

import click

from zoolet.jobs.worker.served_queues import WEIGHT_MOST, WorkerQueue
from zoolet.model import paths


def queues_of(
    roots: Sequence[str], weights: Sequence[str], loaders: Sequence[str]
) -> tuple[dict[str, WorkerQueue], str | None]:
    """Return the queues of a worker, and its loader for all other queues.

    Raises:
        click.UsageError: a value is not valid, names another queue, or occurs twice.
    """
    if len(set(roots)) < len(roots):
        raise click.UsageError("--queue names a queue twice: give each queue one time")
    weight_of, other_weights = _split("--weight", weights, roots)
    if other_weights:
        raise click.UsageError(f"--weight {other_weights[0]}: give --weight PATH=NUMBER")
    loader_of, other_loaders = _split("--loader", loaders, roots)
    queues = {
        root: WorkerQueue(_weight(weight_of[root]) if root in weight_of else 1, loader_of.get(root))
        for root in roots
    }
    return queues, _only("--loader", other_loaders)


def _split(
    option: str, values: Sequence[str], roots: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the values for one queue by its path, and the values for all queues."""
    found: dict[str, str] = {}
    others: list[str] = []
    for value in values:
        if not value.startswith(paths.ROOT):
            others.append(value)
            continue
        # A path may contain "=", so the paths of the queues decide where the value begins.
        root = max((r for r in roots if value.startswith(f"{r}=")), key=len, default=None)
        if root is None:
            raise click.UsageError(
                f"{option} {value}: there is no --queue of this path; give {option} PATH=VALUE"
            )
        if root in found:
            raise click.UsageError(f"{option} has two values for the queue {root}: give one")
        found[root] = value[len(root) + 1 :]
    return found, others


def _only(option: str, values: Sequence[str]) -> str | None:
    if len(values) > 1:
        raise click.UsageError(f"{option} has two values: give one, or {option} PATH=VALUE")
    return values[0] if values else None


def _weight(value: str) -> int:
    if not value.isascii() or not value.isdecimal() or not 1 <= int(value) <= WEIGHT_MOST:
        raise click.UsageError(f"--weight: {value!r} is not a whole number from 1 to {WEIGHT_MOST}")
    return int(value)
