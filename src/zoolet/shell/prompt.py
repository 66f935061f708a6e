"""The prompt at a terminal: it shows the connection, and has colours and a history.

This module reads lines with prompt_toolkit; ``completion.py`` contains the completion with TAB.
Imports no command.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.patch_stdout import patch_stdout

from zoolet.shell.commands.registry import COMMANDS
from zoolet.shell.completion import TreeCompleter, children_of, completing_keys
from zoolet.shell.context import Context

_SECRETIVE = "addauth"
"""The command whose lines contain passwords."""


def typed_lines(context: Context) -> Iterator[str]:
    """Yield the lines that the user types, until the end of the input."""
    session: PromptSession[str] = PromptSession(
        history=PrivateHistory(context.settings.history_path),
        key_bindings=completing_keys(TreeCompleter(lambda path: children_of(context, path))),
        lexer=LineLexer(),
        auto_suggest=AutoSuggestFromHistory(),
    )

    def prompt() -> str:
        state = context.connection.state_name
        return f"[zk: {context.connection.hosts}({state}) {len(context.lines)}] "

    while True:
        connection = context.connection
        connection.add_listener(session.app.invalidate)
        try:
            with patch_stdout(raw=True):
                line = session.prompt(prompt)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        finally:
            connection.remove_listener(session.app.invalidate)
        yield line


class PrivateHistory(FileHistory):
    """The lines of earlier runs, without passwords, in a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def load_history_strings(self) -> Iterator[str]:
        """Yield the lines, the last first; yield nothing if the file cannot be read."""
        try:
            yield from super().load_history_strings()
        except OSError:
            return

    def store_string(self, string: str) -> None:
        """Append a line to the file; if this fails, only this run remembers the line."""
        if string.lstrip().startswith(_SECRETIVE):
            return
        try:
            self._path.touch(mode=0o600)
            super().store_string(string)
        except OSError:
            return


class LineLexer(Lexer):
    """Colours a line: existing commands, options, paths, quoted text."""

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """Return the function that returns the coloured pieces of a line."""
        return lambda number: list(_pieces(document.lines[number]))


_PIECE = re.compile(r"""(\s+)|("[^"]*"?|'[^']*'?)|(\S+)""", re.ASCII)


def _pieces(line: str) -> Iterator[tuple[str, str]]:
    is_first = True
    for found in _PIECE.finditer(line):
        text: Any = found[0]
        yield _style(found, is_first=is_first), text
        is_first = is_first and found[1] is not None


def _style(found: "re.Match[str]", *, is_first: bool) -> str:
    if found[1] is not None:
        return ""
    if is_first:
        return "ansigreen bold" if found[0] in COMMANDS else "ansired"
    if found[2] is not None:
        return "ansiyellow"
    if found[0].startswith("-"):
        return "ansicyan"
    return "ansiblue" if found[0].startswith("/") else ""
