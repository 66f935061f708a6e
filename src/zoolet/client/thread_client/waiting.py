"""Calls that are started and waited for later."""

from typing import TypeVar

from zoolet.client.thread_client.future_methods import FutureRequests
from zoolet.client.thread_client.futures import CallFuture

__all__ = ["FutureRequests", "result_of"]

T = TypeVar("T")


def result_of(future: CallFuture[T]) -> T:
    """Wait for the result of a future, and return it or raise its error."""
    return future.result()
