"""What a batch waits for, as programs say it.

This module imports `zoolet.jobs.records` and other modules of its package.
"""

from collections.abc import Sequence

from zoolet.jobs.dispatcher.batch import Batch
from zoolet.jobs.records.dependencies import Dependencies, When

After = str | Batch | Sequence[str | Batch] | None
"""Batches, or names of batches and jobs; None: nothing."""


def dependencies_of(after: After, when: When) -> Dependencies | None:
    """Return the dependencies of a new batch; a batch without a name stands for its jobs.

    Raises:
        InvalidJobError: there are no names, or too many, or a name is invalid.
    """
    if after is None:
        return None
    named = [after] if isinstance(after, str | Batch) else after
    names: list[str] = []
    for one in named:
        if isinstance(one, str):
            names.append(one)
        else:
            names += one.names if one.name is None else [one.name]
    return Dependencies(tuple(names), When(when))
