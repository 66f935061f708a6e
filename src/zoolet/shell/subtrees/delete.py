"""Deletes a subtree with a bounded number of multis in progress. Imports ``client``."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from kazoo.exceptions import (
    NoNodeError,
    NotEmptyError,
    ZookeeperError,
)
from kazoo.protocol.serialization import Delete

from zoolet.client.kazoo import full_path, multi_async
from zoolet.console.texts import counted
from zoolet.process.interrupts import held_back
from zoolet.shell.errors import CommandError, describe
from zoolet.shell.subtrees.multis import MULTIS_IN_FLIGHT, first_error, in_batches
from zoolet.shell.subtrees.walk import walk

_DELETE_ROUNDS = 10


def delete_subtree(client: Any, root: str, batch_size: int, advance: Callable[[int], None]) -> int:
    """Delete ``root`` and its descendants, the deepest first; return the number of deleted znodes.

    Each batch is a multi. Znodes that other clients delete in the meantime are ignored, znodes that
    they add are deleted in a further round. Raises NoNodeError if ``root`` does not exist, and
    CommandError if a znode could not be deleted.
    """
    found = _listed(client, root)
    deleted = 0
    for _ in range(_DELETE_ROUNDS):
        deleting = _Deleting(client, advance)
        deleting.delete(found[::-1], batch_size)
        deleted += deleting.count
        if deleting.refusal:
            told = f"{deleting.refusal}; {counted(deleted, 'znode')} had been deleted"
            is_all = deleting.count == len(found)
            raise CommandError(told if is_all else f"{told}, the rest of {root} was not")
        try:
            found = _listed(client, root)
        except NoNodeError:
            return deleted
    raise CommandError(f"{root}: children are created faster than they can be deleted")


def _listed(client: Any, root: str) -> list[str]:
    """Return the paths of a subtree; raises CommandError if a znode cannot be read."""
    found = []
    for visited in walk(client, root):
        if visited.error is not None:
            raise CommandError(
                f"{describe(visited.error, visited.path)}: its children cannot be listed"
            )
        found.append(visited.path)
    return found


class _Deleting:
    """One round of deletes.

    Attributes:
        count: the number of znodes that the round has deleted.
        refusal: the error that a further round cannot avoid; "" if there was none.
    """

    def __init__(self, client: Any, advance: Callable[[int], None]) -> None:
        self.count = 0
        self.refusal = ""
        self._client = client
        self._advance = advance

    def delete(self, found: Sequence[str], batch_size: int) -> None:
        """Delete paths in this order, ``batch_size`` in a multi."""
        sent: deque[tuple[Sequence[str], Any]] = deque()
        try:
            for batch in in_batches(found, batch_size, lambda path: len(path.encode())):
                operations = [Delete(full_path(self._client, path), -1) for path in batch]
                with held_back():
                    sent.append((batch, multi_async(self._client, operations)))
                if len(sent) >= MULTIS_IN_FLIGHT:
                    self._settle_next(sent)
                if self.refusal:
                    break
        except KeyboardInterrupt as interrupt:
            self.refusal = describe(interrupt, "")
        while sent:
            try:
                self._settle_next(sent)
            except KeyboardInterrupt as interrupt:
                if self.refusal:
                    raise
                self.refusal = describe(interrupt, "")

    def _settle_next(self, sent: deque[tuple[Sequence[str], Any]]) -> None:
        """Wait for the next reply; a Ctrl-C takes effect only after the reply is counted."""
        with held_back():
            self._settle(*sent.popleft())

    def _settle(self, batch: Sequence[str], result: Any) -> None:
        """Count a batch; if a missing or non-empty znode made it fail, delete one by one."""
        answers = result.get()
        error = first_error(answers)
        if error is None:
            self._note(len(batch))
        elif not isinstance(error, (NoNodeError, NotEmptyError)):
            self._refuse(error, batch[answers.index(error)])
        else:
            singles = [(path, self._client.delete_async(path)) for path in batch]
            for path, single in singles:
                self._settle_one(path, single)

    def _settle_one(self, path: str, single: Any) -> None:
        try:
            single.get()
        except (NoNodeError, NotEmptyError):
            return
        except ZookeeperError as error:
            self._refuse(error, path)
        else:
            self._note(1)

    def _note(self, count: int) -> None:
        self.count += count
        self._advance(count)

    def _refuse(self, error: ZookeeperError, path: str) -> None:
        self.refusal = self.refusal or describe(error, path)
