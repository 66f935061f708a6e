"""Multis in progress: their replies are counted in order, also after an error or an interrupt.

Made by `release.client_methods` from `asyncio_client/subtrees/in_progress.py`: change that module.
"""

from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, TypeVar

from zoolet.client.thread_client.interruption import Uninterrupted
from zoolet.client.errors import ZooKeeperError

S = TypeVar("S")


class MultisInProgress(ABC, Generic[S]):
    """The multis that were sent, and whose replies are not counted yet."""

    def __init__(self) -> None:
        self._sent: deque[S] = deque()

    @abstractmethod
    def _settle_next(self, block: Uninterrupted) -> None:
        """Wait for the next reply, and count it."""

    def _settle_all(self, block: Uninterrupted) -> None:
        """Wait for all replies; an interrupt ends the wait between two replies."""
        while self._sent:
            block.check()
            self._settle_next(block)

    def _settle_rest(self, block: Uninterrupted) -> None:
        """After an error, count the multis in progress: the server may have executed them."""
        while self._sent:
            try:
                self._settle_next(block)
            except ZooKeeperError:
                continue
