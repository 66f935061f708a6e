"""Describes an exception: in a short text that is stored with a job, and a long text for the log.

The standard traceback has no limit of length. Cutting its start or its end would remove important
parts, because the exception's type and the last frames are before a message that may be long. So
each part has its own limit. Invariants: `describe` returns a short text of at most
`KEPT_CHARACTERS`, whose last line without indentation names the type. `describe` raises nothing,
even if methods of the exception raise.

This module imports `zoolet.console`.
"""

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from zoolet.console.texts import escaped, escaped_lines
from zoolet.jobs.records.texts import cut_end, cut_middle

KEPT_CHARACTERS = 2048
"""The greatest length of an attempt's error that is stored with the job."""
LOGGED_CHARACTERS = 16_000
"""The greatest length of an attempt's error in the worker's log."""

_OWN_FOLDER = str(Path(__file__).parents[1])
_NO_MESSAGE = "[its message cannot be read: {}]"


class ErrorText(NamedTuple):
    """An exception as text.

    Attributes:
        short: the type, the message and the last frames, in at most `KEPT_CHARACTERS`.
        full: the text for the log, in at most `LOGGED_CHARACTERS`.
    """

    short: str
    full: str


@dataclass(frozen=True, slots=True)
class _Limits:
    """The limits of the parts of an exception's text.

    Attributes:
        all: the most characters of the whole text.
        message, note: the most characters of the message, and of each note.
        lines: the most lines of the message, and of each note.
        notes: the most notes.
        frames: the most frames; the last frames are shown.
        file, name, line: the most characters of a frame's file, function, and source line.
        members: the most exceptions of an exception group, at each level.
        earlier: the most exceptions that led to this exception.
    """

    all: int
    message: int
    note: int
    lines: int
    notes: int
    frames: int
    file: int
    name: int
    line: int
    members: int
    earlier: int


_SHORT = _Limits(KEPT_CHARACTERS, 500, 100, 10, 2, 5, 70, 30, 50, 5, 3)
_FULL = _Limits(LOGGED_CHARACTERS, 8000, 1000, 200, 3, 100, 300, 100, 200, 20, 20)
_OF_EARLIER = 3
"""The limit of an earlier exception's message is the limit of the message divided by this."""
_SUMMARY_CHARACTERS = 100
_NAME_CHARACTERS = 150
_GROUP_LEVELS = 3
_LEFT_OUT = "[earlier exceptions are left out]\n\n"


def describe(error: BaseException) -> ErrorText:
    """Return an exception as text, without the first frames if they are in the job system."""
    try:
        return ErrorText(_text(error, _SHORT), _text(error, _FULL))
    except BaseException as other:  # noqa: BLE001 -- its attributes may be anything
        plain = f"{type(error).__name__[:_NAME_CHARACTERS]}"
        plain = f"{escaped(plain)} (its description failed with {type(other).__name__})"
        return ErrorText(plain, plain)


def _text(error: BaseException, limits: _Limits) -> str:
    left = limits.all - len(_LEFT_OUT)
    blocks = [_block(error, limits, left)]
    left -= len(blocks[0])
    smaller = replace(limits, message=limits.message // _OF_EARLIER, notes=0)
    for number, (earlier, relation) in enumerate(_earlier(error)):
        link = f"\n\n{relation}\n\n"
        room = left - len(link)
        if number == limits.earlier or room < smaller.message + _NAME_CHARACTERS:
            blocks.append(_LEFT_OUT)
            break
        blocks.append(_block(earlier, smaller, room) + link)
        left -= len(blocks[-1])
    return cut_middle("".join(reversed(blocks)), limits.all)


def _earlier(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield the exceptions that led to ``error``, the latest first.

    Each comes with a sentence that links it to the exception after it.
    """
    seen = {id(error)}
    while True:
        if error.__cause__ is not None:
            error, link = error.__cause__, "It caused the following exception:"
        elif error.__context__ is not None and not error.__suppress_context__:
            error, link = error.__context__, "During its handling, another exception occurred:"
        else:
            return
        if id(error) in seen:
            return
        seen.add(id(error))
        yield error, link


def _block(error: BaseException, limits: _Limits, room: int) -> str:
    """Return type and message, after as many of the other parts as fit into ``room`` characters."""
    # Further lines are indented, so that the last line without indentation names the type.
    end = _lines(f"{_name(error)}: {_message(error, limits.message)}", limits.lines)
    end[0] = end[0].removesuffix(": ")
    for note in _notes(error, limits):
        end += _lines(f"    {note}", limits.lines)
    header = "Traceback (most recent call last):"
    left = room - _size(end) - len(header) - 1
    start = error.__traceback__
    while start is not None and start.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        start = start.tb_next
    frames = _frames(start, limits, left)
    left -= _size(frames)
    between: list[str] = []
    if isinstance(error, SyntaxError) and error.lineno is not None:
        file = escaped(str(error.filename))[-limits.file :]
        code = cut_end(escaped(str(error.text or "").strip()), limits.line)
        between = [f"  in {file}, line {error.lineno}: {code}"]
    if isinstance(error, BaseExceptionGroup):
        for line in _members(error, limits, "  ", _GROUP_LEVELS):
            if _size([*between, line]) > left:
                break
            between.append(line)
    return "\n".join([*([header] if frames else []), *frames, *between, *end])


def _size(lines: list[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _lines(text: str, limit: int) -> list[str]:
    """Return at most ``limit`` lines of a text; all lines but the first are indented."""
    first, *others = text.split("\n")
    if len(others) >= limit:
        left_out = f"[{len(others) + 1 - limit} lines left out]"
        others = [*others[: limit - 1], left_out]
    return [first, *(f"    {line}" for line in others)]


def _frames(start: TracebackType | None, limits: _Limits, room: int) -> list[str]:
    """Return the last frames as lines, as many as fit into ``room`` characters."""
    count = sum(1 for _ in traceback.walk_tb(start))
    found = traceback.StackSummary.extract(traceback.walk_tb(start), limit=-limits.frames)
    lines: list[str] = []
    for number, frame in enumerate(reversed(found)):
        file = escaped(frame.filename)
        if len(file) > limits.file:
            file = f"...{file[-limits.file :]}"
        told = [f'  File "{file}", line {frame.lineno}, in {escaped(frame.name)[: limits.name]}']
        if frame.line:
            told.append(f"    {cut_end(escaped(frame.line), limits.line)}")
        if _size([*told, *lines]) > room:
            return [f"  [{count - number} frames left out]", *lines]
        lines = told + lines
    if count > len(found):
        lines.insert(0, f"  [{count - len(found)} frames left out]")
    return lines


def _members(
    group: BaseExceptionGroup[BaseException], limits: _Limits, indent: str, levels: int
) -> Iterator[str]:
    members = group.exceptions
    for member in members[: limits.members]:
        message = " ".join(_message(member, _SUMMARY_CHARACTERS).split())
        yield f"{indent}- {_name(member)}: {message}"
        if isinstance(member, BaseExceptionGroup) and levels > 1:
            yield from _members(member, limits, f"{indent}  ", levels - 1)
        elif limits.members > _SHORT.members:
            frames = _frames(member.__traceback__, _SHORT, _SHORT.all)
            yield from (f"{indent}  {line}" for line in frames)
    if len(members) > limits.members:
        yield f"{indent}- [{len(members) - limits.members} more]"


def _name(error: BaseException) -> str:
    kind = type(error)
    module, name = str(kind.__module__), str(kind.__qualname__)
    full = name if module in {"builtins", "__main__"} else f"{module}.{name}"
    return cut_end(escaped(full), _NAME_CHARACTERS - 30)


def _message(error: BaseException, limit_characters: int) -> str:
    try:
        text = str(error.msg) if isinstance(error, SyntaxError) else str(error)
        return _cut(text, limit_characters)
    except BaseException as other:  # noqa: BLE001 -- __str__ may raise anything
        return _NO_MESSAGE.format(type(other).__name__)


def _cut(text: str, limit_characters: int) -> str:
    """Return the start of a text, escaped; the rest of the text is not processed."""
    start = cut_end(escaped_lines(text[:limit_characters]), limit_characters)
    if len(text) <= limit_characters:
        return start
    return f"{start} [{len(text) - limit_characters} characters left out]"


def _notes(error: BaseException, limits: _Limits) -> list[str]:
    notes: list[str] = []
    with contextlib.suppress(Exception):
        found = list(getattr(error, "__notes__", ()))
        notes = [_cut(str(note), limits.note) for note in found[: limits.notes]]
        if len(found) > limits.notes:
            notes.append(f"[{len(found) - limits.notes} notes left out]")
    return notes
