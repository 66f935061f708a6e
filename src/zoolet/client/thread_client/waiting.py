"""Calls that are started and waited for later."""

from typing import TypeVar

from zoolet.client.errors import ZooKeeperError
from zoolet.client.thread_client.future_methods import FutureRequests
from zoolet.client.thread_client.futures import CallFuture

__all__ = ["FutureRequests", "Pending", "forget", "known", "result_of"]

Pending = CallFuture
"""The result of a call that may not have ended yet."""

T = TypeVar("T")


def result_of(future: CallFuture[T]) -> T:
    """Wait for the result of a future, and return it or raise its error."""
    return future.result()


def known(future: CallFuture[T]) -> T | None:
    """Return the result of a future, without waiting; None if there is no result."""
    try:
        return future.result() if future.done() else None
    except ZooKeeperError:
        return None


def forget(future: CallFuture[T]) -> None:
    """Do not wait for a future any more."""
    future.cancel()
