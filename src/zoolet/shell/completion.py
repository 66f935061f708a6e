"""Completion with TAB: commands, their options, the options' values, and paths.

This module finds the completions of the word before the cursor and shows them. A list that does not
fit the screen is shown page by page, after a question with the number of completions. Ctrl-C ends
only the list. Of the commands, it imports only their registry.
"""

import re
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.application.run_in_terminal import in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.utils import get_cwidth

from zoolet.client.errors import ZooKeeperError
from zoolet.console.terminal import printable
from zoolet.model import paths
from zoolet.shell.commands.registry import COMMANDS
from zoolet.shell.context import Context

_ANSWER_TIMEOUT_S = 3.0
"""The longest wait for the server's reply; it is short, because the user cannot type meanwhile."""

_LAST_WORD = re.compile(r"""(?:^|\s)("[^"]*|'[^']*|[^\s"']\S*)?$""", re.ASCII)
_BLANKS = re.compile(r"\s+", re.ASCII)

_YES_KEYS = ("y", "Y")
_NO_KEYS = ("n", "N", "q", "Q", Keys.ControlC, Keys.ControlD)
_MORE_KEYS = (" ", Keys.ControlM, Keys.ControlJ, Keys.ControlI)


def children_of(context: Context, path: str) -> list[str]:
    """Return a znode's children; an empty list if the server does not reply in time."""
    if not context.connection.is_connected():
        return []
    try:
        return list(context.client.children(path, timeout_s=_ANSWER_TIMEOUT_S).names)
    except (ZooKeeperError, ValueError):  # ValueError: the typed text is not a path
        return []


class Completion(NamedTuple):
    """The completions of a word.

    Attributes:
        word: the typed word.
        shared: the longest common prefix of all completions, which can replace the word.
        names: the names to show for the completions, sorted; empty if there is no completion.
        whole: the only completion, which can replace the word; None if there is not exactly one.
    """

    word: str
    shared: str
    names: Sequence[str]
    whole: str | None


class TreeCompleter:
    """Finds the completions of the word before the cursor; reads paths from the server."""

    def __init__(self, children_of: Callable[[str], Sequence[str]]) -> None:
        self._children_of = children_of

    def complete(self, before: str) -> Completion:
        """Return the completions of the last word of ``before``."""
        found = _LAST_WORD.search(before)
        word = (found[1] or "") if found else ""
        earlier = [part for part in _BLANKS.split(before[: len(before) - len(word)]) if part]
        if not earlier:
            return _among(sorted(COMMANDS), word)
        if word.lstrip("\"'").startswith("/"):
            return self._path(word)
        return _among(_values_for(earlier), word)

    def _path(self, word: str) -> Completion:
        path = word.lstrip("\"'")
        opening = word[: len(word) - len(path)]
        parent, typed = paths.parent_of(path), paths.name_of(path)
        names = sorted(name for name in self._children_of(parent) if name.startswith(typed))
        if not names:
            return Completion(word, word, (), None)
        shared = paths.join(parent, _shared_beginning(names[0], names[-1]))
        if not opening and _BLANKS.search(shared):
            opening = '"' if "'" in shared else "'"
        whole = f"{opening}{shared}{opening}" if len(names) == 1 else None
        return Completion(word, f"{opening}{shared}", names, whole)


def _shared_beginning(one: str, other: str) -> str:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in same)


def _values_for(earlier: Sequence[str]) -> list[str]:
    """Return the words that may follow ``earlier``: values of an option or argument, or options."""
    command = COMMANDS.get(earlier[0])
    if command is None:
        return []
    for option in command.options:
        if earlier[-1] == f"-{option.name}" and option.value is not None:
            return list(option.choices)
    if command.name == "help":
        return sorted(COMMANDS)
    if command.positional:
        first = command.positional[0].strip("[]")
        if "|" in first:
            return first.split("|")
    return [f"-{option.name}" for option in command.options]


def _among(words: Sequence[str], typed: str) -> Completion:
    names = [word for word in words if word.startswith(typed)]
    if not names:
        return Completion(typed, typed, (), None)
    shared = _shared_beginning(min(names), max(names))
    return Completion(typed, shared, names, shared if len(names) == 1 else None)


def completing_keys(completer: TreeCompleter) -> KeyBindings:
    """Return the key binding of TAB."""
    bindings = KeyBindings()

    @bindings.add(Keys.ControlI)
    def _tab(event: KeyPressEvent) -> None:
        buffer: Buffer = event.current_buffer
        found = completer.complete(buffer.document.text_before_cursor)
        if found.whole is not None or len(found.shared) > len(found.word):
            buffer.delete_before_cursor(len(found.word))
            buffer.insert_text(found.shared if found.whole is None else found.whole)
        elif found.names:
            event.app.create_background_task(_show(event.app, found.names))

    return bindings


async def _show(app: Application[Any], names: Sequence[str]) -> None:
    """Show names in columns above the prompt, page by page if they do not fit one page."""
    size = app.output.get_size()
    width = min(max(map(get_cwidth, names)) + 2, size.columns)
    columns = max(size.columns // width, 1)
    page_rows = max(size.rows - 1, 1)
    page_names = columns * page_rows
    async with in_terminal(render_cli_done=True):
        if len(names) > page_names and not await _asks(
            f"Display all {len(names):,} possibilities? (y or n) ", _YES_KEYS
        ):
            return
        for start in range(0, len(names), page_names):
            if start and not await _asks("--MORE--", (*_YES_KEYS, *_MORE_KEYS)):
                return
            for line in _in_columns(names[start : start + page_names], columns, width):
                app.output.write(f"{printable(line)}\n")
            app.output.flush()


def _in_columns(names: Sequence[str], columns: int, width: int) -> list[str]:
    """Return the lines that show the names in columns, sorted from top to bottom."""
    rows = -(-len(names) // columns)
    return [
        "".join(name + " " * (width - get_cwidth(name)) for name in names[row::rows]).rstrip()
        for row in range(rows)
    ]


async def _asks(question: str, yes_keys: Sequence[str]) -> bool:
    """Ask, and return whether the user pressed one of ``yes_keys``; ``_NO_KEYS`` mean no."""
    bindings = KeyBindings()

    def answer(event: KeyPressEvent) -> None:
        event.app.exit(result=event.key_sequence[0].key in yes_keys)

    def ignore(_event: KeyPressEvent) -> None:
        """Insert nothing."""

    for key in (*yes_keys, *_NO_KEYS):
        bindings.add(key)(answer)
    bindings.add(Keys.Any)(ignore)
    session: PromptSession[bool] = PromptSession(
        question, key_bindings=bindings, erase_when_done=True
    )
    try:
        return await session.prompt_async()
    except (KeyboardInterrupt, EOFError):
        return False
