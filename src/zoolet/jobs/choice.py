"""Which of the waiting jobs a worker takes: a pure function of what waits and what it holds."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from zoolet.jobs import naming
from zoolet.jobs.naming import GroupKey, JobName


class WaitingJob(NamedTuple):
    """A waiting job's name, whole and taken apart."""

    name: str
    parts: JobName


class Choice(NamedTuple):
    """The job to take.

    Attributes:
        name: the job's name.
        is_local: whether the worker holds its group.
    """

    name: str
    is_local: bool


def in_order(names: Iterable[str]) -> list[WaitingJob]:
    """Return the jobs among ``names`` in the order in which they are due; others are left out."""
    waiting = []
    for name in names:
        try:
            waiting.append(WaitingJob(name, naming.parse(name)))
        except ValueError:
            continue
    return sorted(waiting, key=lambda job: job.parts.rank)


def choose(
    waiting: Iterable[WaitingJob], held: Collection[GroupKey], excluded: Collection[str] = ()
) -> Choice | None:
    """Return the first job whose group is held, else the first of all, or None.

    ``waiting`` is in order; jobs in ``excluded`` are being taken already.
    """
    first: Choice | None = None
    for name, parts in waiting:
        if name in excluded:
            continue
        if parts.group in held:
            return Choice(name, is_local=True)
        if first is None:
            first = Choice(name, is_local=False)
    return first
