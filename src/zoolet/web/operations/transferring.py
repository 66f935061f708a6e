"""Copies, moves and imports of subtrees: what they report, and what to do after an error.

Invariant: whatever ends a transfer, the result says what was written, and what to do next.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from zoolet.client import (
    BadVersionError,
    ClientClosedError,
    ConnectionLossError,
    DeadlineError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RequestTimeoutError,
    Transferred,
    ZooKeeperError,
)
from zoolet.exports.lines import ExportError
from zoolet.web.operations.operation import Handle, Kind, OperationError

COPY: Final = Kind("copy", "znodes", link="Show the copy")
MOVE: Final = Kind("move", "steps", link="Show the moved znode")
IMPORT: Final = Kind("import", "znodes", link="Show the new znode")

_UNKNOWN: Final = (
    ConnectionLossError,
    ClientClosedError,
    DeadlineError,
    RequestTimeoutError,
)
"""After these errors, it is not known whether the server has applied the last requests."""

_CHANGED: Final = (BadVersionError, NotEmptyError, NoNodeError)


@dataclass(frozen=True, slots=True)
class Options:
    """How znodes are written: see `AsyncClient.write_subtree`."""

    replaces: bool = False
    with_acl: bool = True
    keeps_ephemerals: bool = False


class Report:
    """What a transfer has done; it goes to the operation and to the audit.

    Args:
        handle: the handle of the operation.
        record: the record of the audit.
        source: the source, with the name of its cluster.
        target: the target, with the name of its cluster.
    """

    def __init__(self, handle: Handle, record: dict[str, Any], source: str, target: str) -> None:
        self._handle = handle
        self._record = record
        self._source = source
        self._target = target
        self._done = Transferred()
        self._note_values()

    def note(self, done: Transferred) -> None:
        """Note what is done until now."""
        self._done = done
        self._handle.progress(done.written + done.left_out + done.deleted)
        self._note_values()

    @contextmanager
    def told(self) -> Iterator[None]:
        """If the block fails, say what was done and what to do next.

        Raises:
            OperationError: the block has raised an error of the client or of the file.
        """
        try:
            yield
        except BaseException as error:
            told = self._told(error)
            self._record["result"] = type(error).__name__
            if not isinstance(error, (ZooKeeperError, ExportError, ValueError, OSError)):
                self._handle.show(what_to_do=told)
                raise
            self._record["error"] = str(error)
            raise OperationError(f"{_cause(error)} {told}") from error

    def _note_values(self) -> None:
        done, is_move = self._done, self._handle.operation.kind is MOVE
        values = {"created": done.created, "overwritten": done.replaced, "left_out": done.left_out}
        if is_move:
            values["deleted"] = done.deleted
        self._handle.show(**values)
        self._record.update(values)

    def _told(self, error: BaseException) -> str:
        done, kind = self._done, self._handle.operation.kind
        told = self._told_of_move(error) if kind is MOVE else self._told_of_writing()
        both = f"{self._source} and {self._target}" if kind is MOVE else self._target
        if isinstance(error, _UNKNOWN) and not done.is_copied:
            if not done.written:
                return f"The reply is missing, so something may have been written: look at {both}."
            told += f" The last replies are missing, so more may have been written: look at {both}."
        return told

    def _told_of_writing(self) -> str:
        done = self._done
        if not done.written:
            return "Nothing was written."
        told = f"{_counted(done.written)} were written to {self._target}, and stay there."
        again = " To write the rest, start it again, and overwrite existing znodes."
        undo = "" if done.replaced else f" To undo it, delete {self._target}."
        return told + again + undo

    def _told_of_move(self, error: BaseException) -> str:
        done = self._done
        if not done.written:
            return "Nothing was moved."
        if not done.is_copied:
            return (
                f"{self._source} is unchanged. {_counted(done.written)} were copied to"
                f" {self._target}: delete them there before you start again."
            )
        changed = " Another program has changed it after the copy." if _is_change(error) else ""
        return (
            f"Everything was copied to {self._target}. {done.deleted:,} of"
            f" {_counted(done.written)} of {self._source} were deleted; the rest is still there."
            f"{changed} Compare both, then delete what you do not need."
        )


def _is_change(error: BaseException) -> bool:
    return isinstance(error, _CHANGED)


def _counted(number: int) -> str:
    return "1 znode" if number == 1 else f"{number:,} znodes"


def _cause(error: Exception) -> str:
    """Return an error as a sentence."""
    text = str(error).rstrip(".")
    if isinstance(error, NodeExistsError):
        text += ": choose another target, or overwrite existing znodes"
    elif isinstance(error, ZooKeeperError) and error.request == "set_acl":
        text += " (its ACL)"
    return f"{text}."
