"""Builds and parses job names: ``entry-{priority:03d}-{dataset}:{groupid}-{sequence}``.

The server appends the sequence. In the dataset and the groupid, characters that are not allowed in
a path are percent-encoded (UTF-8), and so are ``/``, ``:``, ``%``, and a ``-`` at the end of a
groupid. Such a ``-`` would look like the minus sign of a sequence that has overflowed 32 bits. All
other characters are not encoded. A ``-`` in a dataset is allowed, because ``:`` ends the dataset.
This module imports zoolet.model.
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
"""The dataset in the name of a job without data; the groupid is eight random hex digits."""
PAGE_SHIFT = 10**10
"""A sequence is the number of its page times this, plus the counter that the server appended."""
PART_LIMIT_BYTES = 255
"""The most bytes of an encoded dataset or groupid, because workers list the names of all jobs."""

_NAME = re.compile(r"entry-(\d{3})-([^:]+):([^:]*[^:-])-(-?\d+)", re.DOTALL | re.ASCII)


Group = tuple[str, str]
"""The dataset and the groupid that identify a group of data."""


class JobName(NamedTuple):
    """The name of a job's znode, and its parts."""

    name: str
    priority: int
    dataset: str
    groupid: str
    sequence: int

    @property
    def group(self) -> Group:
        """The dataset and the groupid."""
        return (self.dataset, self.groupid)

    @property
    def has_data(self) -> bool:
        """Whether the job has a dataset and a group."""
        return self.dataset != NO_DATASET

    @property
    def page(self) -> int:
        """The number of the job's page in its shard; 0 if the queue has no pages."""
        return max(0, self.sequence) // PAGE_SHIFT

    @property
    def order(self) -> tuple[int, int, str]:
        """The sort key of jobs, with greater priorities first, then lower sequences."""
        return (-self.priority, self.sequence, self.name)


def no_group() -> tuple[str, str]:
    """Return the dataset and a random groupid for the name of a job without data.

    The random groupid distributes these jobs evenly over the shards.
    """
    return NO_DATASET, os.urandom(4).hex()


@lru_cache(maxsize=20_000)
def build(priority: int, dataset: str, groupid: str) -> str:
    """Return a job's name without the sequence, which the server appends.

    Raises:
        InvalidJobError: the priority is not from 0 to 999, or the dataset or groupid is empty, too
            long or not a text.
    """
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise InvalidJobError(f"priority {priority!r} is not a whole number from 0 to 999")
    if not 0 <= priority <= PRIORITY_MAX:
        raise InvalidJobError(
            f"priority {priority} is not from 0 to 999; jobs with a greater priority start first"
        )
    group = encode("groupid", groupid)
    if group.endswith("-"):
        group = f"{group[:-1]}%2D"
    return f"entry-{priority:03d}-{encode('dataset', dataset)}:{group}-"


@lru_cache(maxsize=20_000)
def parse(name: str) -> JobName | None:
    """Parse a job's name; return None if it is not the name of a job.

    Workers list the same waiting jobs many times, so the results are cached.
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


def encoded_bytes(text: str) -> int:
    """Return the number of bytes that a dataset or groupid takes in a job's name."""
    return len("".join(map(_encode_character, text)).encode())


def encode(part: str, text: str) -> str:
    """Return a text as a part of a znode's name; ``part`` is its description for messages.

    Raises:
        InvalidJobError: the text is empty, too long, or not a text.
    """
    if not isinstance(text, str) or not text:
        raise InvalidJobError(f"{part} {text!r} is not a text of at least one character")
    try:
        encoded = "".join(map(_encode_character, text))
    except UnicodeEncodeError:
        raise InvalidJobError(
            f"{part} {text!r} has half of a surrogate pair, which is not a character"
        ) from None
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
