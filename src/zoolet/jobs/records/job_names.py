"""Job names: ``entry-{priority:03d}-{dataset}:{groupid}-{sequence}``, built and taken apart.

The server appends the sequence. A dataset and a groupid are percent-encoded (UTF-8) where they
hold a character that a path forbids, or one that parts a name: ``/``, ``:``, ``%``, and ``-`` at
the end of a groupid, where it would read as the sign of a sequence past the 32-bit overflow. All
else stays readable, so a name is taken apart by position: a ``-`` in a dataset is harmless.
Imports zoolet.model.
"""

import os
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from zoolet.jobs.errors import InvalidJobError
from zoolet.model import paths

PRIORITY_MAX = 999
NO_DATASET = "_"
"""The dataset in the name of a job without data; its groupid there is eight random hex digits."""
PAGE_SHIFT = 10**10
"""A sequence is the number of its page times this, plus what the server appended."""
PART_LIMIT_BYTES = 255
"""Longest dataset or groupid, encoded: every worker lists the names of all jobs that wait."""

_NAME = re.compile(r"entry-(\d{3})-([^:]+):([^:]*[^:-])-(-?\d+)", re.DOTALL | re.ASCII)


Group = tuple[str, str]
"""What identifies a group of data: dataset and groupid."""


class JobName(NamedTuple):
    """The name of a job's znode, and what it says."""

    name: str
    priority: int
    dataset: str
    groupid: str
    sequence: int

    @property
    def group(self) -> Group:
        """The data that the job is about."""
        return (self.dataset, self.groupid)

    @property
    def has_data(self) -> bool:
        """Whether the job is about a group of a dataset."""
        return self.dataset != NO_DATASET

    @property
    def page(self) -> int:
        """Which page of its shard the job was submitted to; 0 where a queue has no pages."""
        return max(0, self.sequence) // PAGE_SHIFT

    @property
    def order(self) -> tuple[int, int, str]:
        """The sort key of jobs: the greater priority first, then the lower sequence."""
        return (-self.priority, self.sequence, self.name)


def no_group() -> tuple[str, str]:
    """Return dataset and groupid for the name of a job without data, so that shards fill evenly."""
    return NO_DATASET, os.urandom(4).hex()


@lru_cache(maxsize=20_000)
def build(priority: int, dataset: str, groupid: str) -> str:
    """Return a job's name without the sequence, which the server appends.

    Raises:
        InvalidJobError: the priority is not 0 to 999, or a part is empty, too long or no text.
    """
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise InvalidJobError(f"priority {priority!r} is not a whole number from 0 to 999")
    if not 0 <= priority <= PRIORITY_MAX:
        raise InvalidJobError(f"priority {priority} is outside 0 to 999; the greater goes first")
    group = _encode("groupid", groupid)
    if group.endswith("-"):
        group = f"{group[:-1]}%2D"
    return f"entry-{priority:03d}-{_encode('dataset', dataset)}:{group}-"


@lru_cache(maxsize=20_000)
def parse(name: str) -> JobName | None:
    """Take a job's name apart; None where it is not the name of a job.

    What waits is listed again and again, and its names do not change: hence the cache.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    priority, dataset, groupid, sequence = match.groups()
    try:
        return JobName(
            name,
            int(priority),
            unquote(dataset, errors="strict") if "%" in dataset else dataset,
            unquote(groupid, errors="strict") if "%" in groupid else groupid,
            int(sequence),
        )
    except ValueError:
        return None


def _encode(part: str, text: str) -> str:
    if not isinstance(text, str) or not text:
        raise InvalidJobError(f"{part} {text!r} is not a text of at least one character")
    try:
        encoded = "".join(map(_encode_character, text))
    except UnicodeEncodeError:
        raise InvalidJobError(f"{part} {text!r} holds half a character (a surrogate)") from None
    if len(encoded.encode()) > PART_LIMIT_BYTES:
        raise InvalidJobError(
            f"{part} {text[:40]!r}... takes {len(encoded.encode())} bytes in a job's name;"
            f" at most {PART_LIMIT_BYTES} are allowed"
        )
    return encoded


@lru_cache(maxsize=1024)
def _encode_character(character: str) -> str:
    if character in "/:%" or paths.reason_invalid(f"/_{character}") is not None:
        return quote(character, safe="")
    return character
