"""The terminal of a person: a prompt that shows the connection, completion, colours, history.

Owns what happens between two commands; prompt_toolkit does most of it. Imports no command.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from kazoo.exceptions import KazooException
from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.shortcuts import CompleteStyle

from zoolet.model import paths
from zoolet.shell.context import Context
from zoolet.shell.registry import COMMANDS

_SHOWN_AT_MOST = 1000
_ANSWER_TIMEOUT_S = 3.0
"""How long a completion waits for the server, with the person waiting for it."""

_SECRETIVE = "addauth"
"""The command whose lines hold passwords."""

_LAST_WORD = re.compile(r"""(?:^|\s)("[^"]*|'[^']*|[^\s"']\S*)?$""")


def typed_lines(context: Context) -> Iterator[str]:
    """Yield the lines that a person types, until the end of the input."""
    session: PromptSession[str] = PromptSession(
        history=PrivateHistory(context.settings.history_path),
        completer=TreeCompleter(lambda path: _children(context, path)),
        complete_style=CompleteStyle.READLINE_LIKE,
        complete_while_typing=False,
        lexer=LineLexer(),
        auto_suggest=AutoSuggestFromHistory(),
    )

    def prompt() -> str:
        state = context.link.state_name
        return f"[zk: {context.link.hosts}({state}) {len(context.lines)}] "

    while True:
        link = context.link
        link.add_listener(session.app.invalidate)
        try:
            with patch_stdout(raw=True):
                line = session.prompt(prompt)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        finally:
            link.remove_listener(session.app.invalidate)
        yield line


def _children(context: Context, path: str) -> list[str]:
    """Return a znode's children, none where they cannot be had in time."""
    if not context.link.is_connected():
        return []
    try:
        found: list[str] = context.client.get_children_async(path).get(timeout=_ANSWER_TIMEOUT_S)
    except (KazooException, context.client.handler.timeout_exception):
        return []
    return found


class PrivateHistory(FileHistory):
    """Lines of former runs, in a file that only its owner reads, without passwords."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def load_history_strings(self) -> Iterator[str]:
        """Yield the lines, the last first; a file that cannot be read holds none."""
        try:
            yield from super().load_history_strings()
        except OSError:
            return

    def store_string(self, string: str) -> None:
        """Keep a line; where the file cannot be written it is kept for this run alone."""
        if string.split(maxsplit=1)[:1] == [_SECRETIVE]:
            return
        try:
            self._path.touch(mode=0o600)
            super().store_string(string)
        except OSError:
            return


class TreeCompleter(Completer):
    """Completes commands, their options and the values of those, and paths from the live tree."""

    def __init__(self, children_of: Callable[[str], Sequence[str]]) -> None:
        self._children_of = children_of

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yield what the word before the cursor may become."""
        del complete_event
        before = document.text_before_cursor
        found = _LAST_WORD.search(before)
        word = (found[1] or "") if found else ""
        earlier = before[: len(before) - len(word)].split()
        if not earlier:
            yield from _among(sorted(COMMANDS), word)
        elif word.lstrip("\"'").startswith("/"):
            yield from self._paths(word)
        else:
            yield from _among(_values_for(earlier), word)

    def _paths(self, word: str) -> Iterator[Completion]:
        """Yield the children that a path may go on with; of too many, what they all begin with."""
        path = word.lstrip("\"'")
        parent, typed = paths.parent_of(path), paths.name_of(path)
        names = sorted(name for name in self._children_of(parent) if name.startswith(typed))
        if not names:
            return
        shared = _shared_beginning(names[0], names[-1])
        if len(names) <= _SHOWN_AT_MOST:
            for name in names:
                yield _completion(word, paths.join(parent, name), name)
        elif shared != typed:
            yield _completion(word, paths.join(parent, shared), shared)
        else:
            for name in names[:_SHOWN_AT_MOST]:
                yield _completion(word, paths.join(parent, name), name)
            more = f"... and {len(names) - _SHOWN_AT_MOST:,} more"
            yield Completion(word, -len(word), display=more)


def _shared_beginning(one: str, other: str) -> str:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in same)


def _completion(word: str, path: str, name: str) -> Completion:
    """Return what puts ``path`` in place of ``word``, in quotes where it needs them."""
    quote = word[0] if word[0] in "\"'" else "'" if re.search(r"\s", path) else ""
    return Completion(f"{quote}{path}{quote}", -len(word), display=name)


def _values_for(earlier: Sequence[str]) -> list[str]:
    """Return what may stand behind these words: an option's values, or options."""
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


def _among(words: Sequence[str], typed: str) -> Iterator[Completion]:
    for word in words:
        if word.startswith(typed):
            yield Completion(word, -len(typed))


class LineLexer(Lexer):
    """Colours a line: commands that there are, options, paths, text in quotes."""

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """Return what gives the pieces of each line."""
        return lambda number: list(_pieces(document.lines[number]))


_PIECE = re.compile(r"""(\s+)|("[^"]*"?|'[^']*'?)|(\S+)""")


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
