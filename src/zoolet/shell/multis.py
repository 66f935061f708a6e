"""What one multi may hold, and why it was refused. Imports kazoo."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from kazoo.exceptions import (
    RolledBackError,
    RuntimeInconsistency,
    ZookeeperError,
)

Item = TypeVar("Item")

MULTI_BYTES = 512 * 1024
"""What one multi may hold, well below the least jute.maxbuffer in use (1 MiB)."""

MULTIS_IN_FLIGHT = 8

_OPERATION_BYTES = 64
"""What an operation has beside its path, data and ACL, and more."""


def in_batches(
    items: Iterable[Item], most: int, size_of: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Yield the items in batches that a multi can hold, of at most ``most``."""
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
    """Return the error for which a multi was refused, not those of its other operations."""
    for answer in answers:
        is_error = isinstance(answer, ZookeeperError)
        if is_error and not isinstance(answer, (RolledBackError, RuntimeInconsistency)):
            error: ZookeeperError = answer
            return error
    return None
