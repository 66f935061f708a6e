"""Job names: ``entry-{priority:03d}-{dataset}:{groupid}-{sequence}``.

A name is taken apart by position: the priority has three digits at a fixed place and the sequence
is what the server appended at the end, so that a ``-`` in between means nothing. What would break
the name (``/``, ``:``, ``%``) or no path may hold stands percent-encoded, so that every data set
and group has exactly one name.
"""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from zoolet.jobs.errors import InvalidJobError
from zoolet.model import paths

LEAST_PRIORITY = 0
GREATEST_PRIORITY = 999

_NAME = re.compile(
    r"entry-(?P<priority>\d{3})-(?P<dataset>[^:]+):(?P<groupid>[^:]*[^:-])"
    r"-(?P<sequence>\d{10,}|-\d{9,})",
    re.DOTALL,
)
_RESERVED = re.compile(r"[/:%]")


class GroupKey(NamedTuple):
    """A group of a data set: what a worker loads and keeps."""

    dataset: str
    groupid: str

    def __str__(self) -> str:
        groupid = encode_part(self.groupid)
        # So that a second "-" in front of the sequence is its sign: it wraps past 2**31.
        if groupid.endswith("-"):
            groupid = groupid[:-1] + "%2D"
        return f"{encode_part(self.dataset)}:{groupid}"


class JobName(NamedTuple):
    """The parts of a job's name."""

    priority: int
    group: GroupKey
    sequence: int

    @property
    def rank(self) -> tuple[int, int]:
        """Where it stands in the queue, the least first: greater priority, then lower sequence."""
        return (-self.priority, self.sequence)


def prefix(priority: int, group: GroupKey) -> str:
    """Return the name up to the sequence, which the server appends.

    Raises InvalidJobError for a priority out of range and for an empty data set or group.
    """
    if not LEAST_PRIORITY <= priority <= GREATEST_PRIORITY:
        raise InvalidJobError(
            f"priority {priority} is not from {LEAST_PRIORITY} to {GREATEST_PRIORITY}"
        )
    if not group.dataset or not group.groupid:
        raise InvalidJobError("a job's dataset and groupid have at least one character each")
    return f"entry-{priority:03d}-{group}-"


def parse(name: str) -> JobName:
    """Take a name apart; raises ValueError where it is no job's."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no job name")
    group = GroupKey(unquote(match["dataset"]), unquote(match["groupid"]))
    return JobName(int(match["priority"]), group, int(match["sequence"]))


def encode_part(text: str) -> str:
    """Return ``text`` with what a name cannot hold percent-encoded."""
    return "".join(
        quote(character, safe="")
        if _RESERVED.match(character) or paths.reason_invalid(f"/x{character}x") is not None
        else character
        for character in text
    )
