"""Splits operations into multis, and finds the error of a refused multi. Imports kazoo."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from kazoo.exceptions import (
    RolledBackError,
    RuntimeInconsistency,
    ZookeeperError,
)

Item = TypeVar("Item")

MULTI_BYTES = 512 * 1024
"""The most bytes in one multi: well below the default jute.maxbuffer (1 MiB)."""

MULTIS_IN_FLIGHT = 8

_OPERATION_BYTES = 64
"""An upper bound of an operation's bytes besides its path, data and ACL."""


def in_batches(
    items: Iterable[Item], most: int, size_of: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Yield the items in batches of at most ``most`` items that fit one multi."""
    batch: list[Item] = []
    size_bytes = 0
    for item in items:
        item_bytes = size_of(item) + _OPERATION_BYTES
        if batch and (len(batch) >= most or size_bytes + item_bytes > MULTI_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(item)
        size_bytes += item_bytes
    if batch:
        yield batch


def first_error(answers: Sequence[Any]) -> ZookeeperError | None:
    """Return the error that made a multi fail; None if the multi succeeded.

    The errors of the other operations only say that they were rolled back.
    """
    for answer in answers:
        is_error = isinstance(answer, ZookeeperError)
        if is_error and not isinstance(answer, (RolledBackError, RuntimeInconsistency)):
            error: ZookeeperError = answer
            return error
    return None
