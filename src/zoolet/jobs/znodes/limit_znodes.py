"""The znodes of limits: their paths, and the names of their children.

    limits/<name>                       the limit (`zoolet.jobs.records.limits`); "": it was removed
    limits/<name>/slots/<group>-<n>     a job that holds one of the places of the limit; its data
                                        is the job's name. n is less than the limit's number
    limits/<name>/next/<group>          the time of the next start, for a limit per second
    limits/<name>/waiting/<key>/<job>   the index entry of a job in deferred that waits

A group is a limit key if the limit is counted for each key, or else ``all``. This module imports
`zoolet.jobs.records` and other modules of its package.
"""

import re
from typing import Final

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.limits import key_name
from zoolet.jobs.znodes.layout import LIMITS, Layout

_TIME_DIGITS_MOST: Final = 20
_SLOT = re.compile(r"(.+)-(\d{1,6})", re.ASCII | re.DOTALL)


def limit_path(layout: Layout, name: str) -> str:
    """Return the path of a limit."""
    return layout.znodes.path(LIMITS, name)


def slots_path(layout: Layout, name: str) -> str:
    """Return the path of the parent of a limit's slots."""
    return layout.znodes.path(LIMITS, name, "slots")


def slot(name: str, group: str, number: int) -> str:
    """Return a slot as `Job.slots` has it: its path below ``limits``."""
    return f"{name}/slots/{group}-{number}"


def slot_path(layout: Layout, held: str) -> str:
    """Return the path of a slot, given as in `Job.slots`."""
    return layout.znodes.path(LIMITS, held)


def parse_slot(child: str) -> tuple[str, int] | None:
    """Return the group and the number of a slot; None if the name is not that of a slot."""
    match = _SLOT.fullmatch(child)
    return None if match is None else (match[1], int(match[2]))


def next_path(layout: Layout, name: str, group: str) -> str:
    """Return the path of the time of a group's next start."""
    return layout.znodes.path(LIMITS, name, "next", group)


def encode_time(time_us: int) -> bytes:
    """Return the value of the time of a next start, in microseconds since the epoch."""
    return str(time_us).encode()


def decode_time(data: bytes) -> int:
    """Return the time of the next start, which any program may have written; 0 if invalid."""
    is_valid = data.isdigit() and len(data) <= _TIME_DIGITS_MOST
    return int(data) if is_valid else 0


def waiting_path(layout: Layout, name: str) -> str:
    """Return the path of the parent of the keys that have waiting jobs."""
    return layout.znodes.path(LIMITS, name, "waiting")


def waiting_entry_path(layout: Layout, job: Job) -> str:
    """Return the path of the index entry of a job that waits for its limit."""
    return f"{waiting_path(layout, job.limit or '')}/{key_name(job.limit_key)}/{job.name}"
