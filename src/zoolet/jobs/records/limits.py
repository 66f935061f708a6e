"""A limit of a queue: how many attempts of its jobs run at a time, or how many start per second.

The value of the znode ``limits/<name>`` is the JSON of a limit. This module imports
`zoolet.jobs.errors` and other modules of its package.
"""

import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Final, Self

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.job_values import TASK_LIMIT_CHARACTERS, is_text, is_znode_name
from zoolet.jobs.records.json_values import decode_json

LIMITS_MOST: Final = 50
"""The most limits of a queue: a multi that takes jobs has an operation for each of their limits."""
CONCURRENT_MOST: Final = 100_000
PER_SECOND_LEAST: Final = 1 / 86_400
PER_SECOND_MOST: Final = 100_000.0
NAME_LIMIT_CHARACTERS: Final = 100
_TEXT_LIMIT_CHARACTERS: Final = 255
ALL: Final = "all"
"""The group of all jobs of a limit that is not counted for each key."""
NO_KEY: Final = "none"
"""The name of the znode of waiting jobs that have no key."""


@dataclass(frozen=True)
class Limit:
    """A limit for the jobs of a queue, over all its workers together.

    Without ``task``, ``dataset`` and ``key``, the limit is for all jobs of the queue.

    Attributes:
        name: the name of the limit, of up to 100 characters.
        concurrent: the most attempts that run at the same time; 0: none starts, so the jobs are
            paused; None: ``per_second`` is given.
        per_second: the most attempts that start per second on average; None: ``concurrent`` is
            given.
        burst: the most attempts that start at once after a pause, for ``per_second``; None: a
            quarter of ``per_second``, at least 1.
        task: only jobs of the task of this name are limited.
        dataset: only jobs of this dataset are limited.
        key: only jobs with this ``limit_key`` are limited.
        per_key: whether each ``limit_key`` is counted on its own. Jobs without a key are then not
            limited.
    """

    name: str
    concurrent: int | None = None
    per_second: float | None = None
    burst: int | None = None
    task: str | None = None
    dataset: str | None = None
    key: str | None = None
    per_key: bool = False

    def __post_init__(self) -> None:
        if not is_znode_name(self.name) or len(self.name) > NAME_LIMIT_CHARACTERS:
            raise InvalidJobError(
                f"{self.name!r} is not the name of a limit: give a text of up to"
                f" {NAME_LIMIT_CHARACTERS} characters without /"
            )
        if (self.concurrent is None) == (self.per_second is None):
            raise InvalidJobError(f"limit {self.name}: give either concurrent or per_second")
        self._check_numbers()
        if type(self.per_key) is not bool or (self.per_key and self.key is not None):
            raise InvalidJobError(f"limit {self.name}: give either key or per_key")
        for field, most in _TEXTS.items():
            value = getattr(self, field)
            if value is not None and not (is_text(value) and 0 < len(value) <= most):
                raise InvalidJobError(
                    f"limit {self.name}: {field} is {value!r}, which is not a text of 1 to {most}"
                    " characters"
                )

    def _check_numbers(self) -> None:
        if self.concurrent is not None and not _is_number(self.concurrent, 0, CONCURRENT_MOST):
            raise InvalidJobError(
                f"limit {self.name}: concurrent is {self.concurrent!r}, which is not a number from"
                f" 0 to {CONCURRENT_MOST}"
            )
        rate = self.per_second
        if rate is not None and not (
            type(rate) in {int, float} and PER_SECOND_LEAST <= rate <= PER_SECOND_MOST
        ):
            raise InvalidJobError(
                f"limit {self.name}: per_second is {rate!r}, which is not a number from 1/86400"
                f" (one start a day) to {PER_SECOND_MOST:.0f}"
            )
        if self.burst is not None and (
            rate is None or not _is_number(self.burst, 1, CONCURRENT_MOST)
        ):
            raise InvalidJobError(
                f"limit {self.name}: burst is {self.burst!r}; it needs per_second, and is a number"
                f" from 1 to {CONCURRENT_MOST}"
            )

    def applies_to(self, task: str, dataset: str | None, key: str | None) -> bool:
        """Return whether jobs of this task, dataset and limit key are limited."""
        return (
            (self.task is None or self.task == task)
            and (self.dataset is None or self.dataset == dataset)
            and (self.key is None or self.key == key)
            and not (self.per_key and key is None)
        )

    def group_of(self, key: str | None) -> str:
        """Return the name of the group of jobs that are counted together."""
        return key_name(key) if self.per_key else ALL

    @cached_property
    def interval_us(self) -> int:
        """The average time between two starts, in microseconds; 0 without ``per_second``."""
        return 0 if self.per_second is None else max(1, round(1_000_000 / self.per_second))

    @cached_property
    def starts_at_once(self) -> int:
        """The most attempts that start at once after a pause."""
        return self.burst or max(1, int((self.per_second or 0) / 4))

    def starts_allowed(self, next_us: int, now_us: int) -> int:
        """Return how many attempts may start now.

        ``next_us`` is the time at which the next attempt would start if all attempts started in
        equal intervals (the theoretical arrival time of the generic cell rate algorithm).
        """
        interval_us, most = self.interval_us, self.starts_at_once
        # A time that is too late comes from a clock that was set back, or from another program.
        next_us = min(next_us, now_us + most * interval_us)
        early_us = now_us - (next_us - (most - 1) * interval_us)
        return 0 if early_us < 0 else min(most, early_us // interval_us + 1)

    def after_start(self, next_us: int, now_us: int) -> int:
        """Return ``next_us`` after an attempt has started."""
        next_us = min(next_us, now_us + self.starts_at_once * self.interval_us)
        return max(next_us, now_us) + self.interval_us

    def allowed_in_us(self, next_us: int, now_us: int) -> int:
        """Return the time, in microseconds, until an attempt may start; 0: now."""
        next_us = min(next_us, now_us + self.starts_at_once * self.interval_us)
        return max(0, next_us - (self.starts_at_once - 1) * self.interval_us - now_us)

    def starts_in_s(self, next_us: int, now_us: int) -> float:
        """Return the time, in seconds, until one more attempt than now may start."""
        allowed = self.starts_allowed(next_us, now_us)
        later_us = self.allowed_in_us(next_us + allowed * self.interval_us, now_us)
        return max(later_us, 1) / 1_000_000

    @property
    def text(self) -> str:
        """A description of the limit, without its name."""
        if self.concurrent == 0:
            most = "paused"
        elif self.concurrent is not None:
            most = f"{self.concurrent} at a time"
        else:
            most = f"{self.per_second:g} starts per second (up to {self.starts_at_once} at once)"
        names = ("task", "dataset", "key")
        of = [f"{name} {value}" for name in names if (value := getattr(self, name)) is not None]
        if self.per_key:
            of.append("each key")
        return f"{most}, for {', '.join(of) or 'the queue'}"

    @classmethod
    def decode(cls, name: str, data: bytes) -> Self | None:
        """Decode the value of a limit's znode; None if the limit was removed.

        Raises:
            UnreadableJobError: the value is not a valid limit.
        """
        if not data:
            return None
        try:
            found = decode_json(data)
            return cls(name, **{key: found[key] for key in found.keys() & _NAMES})
        except (ValueError, TypeError, AttributeError) as error:
            raise UnreadableJobError(
                f"the value of the limit {name} is invalid ({error}), so it limits nothing: add the"
                " limit again, or remove it"
            ) from None

    def encode(self) -> bytes:
        """Return the znode's value."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(
            {name: value for name, value in values.items() if name != "name"}
        ).encode()


def key_name(key: str | None) -> str:
    """Return the part of a znode's name that stands for a limit key."""
    return NO_KEY if key is None else f"={job_names.encode('limit_key', key)}"


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


_TEXTS: Final = {
    "task": TASK_LIMIT_CHARACTERS,
    "dataset": _TEXT_LIMIT_CHARACTERS,
    "key": _TEXT_LIMIT_CHARACTERS,
}
_NAMES: Final = frozenset(spec.name for spec in fields(Limit)) - {"name"}
