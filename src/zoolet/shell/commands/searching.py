"""Commands that search or summarize a subtree: tree, find, grep, du."""

import argparse
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from zoolet.client.transfers import depth_below
from zoolet.model import paths
from zoolet.model.results import Visited
from zoolet.shell.answers import Answer
from zoolet.shell.commands.arguments import Option
from zoolet.shell.commands.registry import command
from zoolet.shell.context import Context
from zoolet.shell.errors import AnswerIsNo, CommandError, UsageError, describe
from zoolet.shell.formatting import format_data, format_id

DEPTH = Option("L", "descend at most N levels", "depth", int)


@command("tree path", "print a subtree as an indented tree", DEPTH)
def _tree(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    root, depth = arguments.path, _depth(arguments.L)
    before = {root: ("", "")}  # the prefixes of a znode's line and of its children's lines
    for visited in _readable(context, root, max_depth=depth):
        own, children = before.pop(visited.path)
        name = root if visited.path == root else paths.name_of(visited.path)
        count = len(visited.names)
        is_cut = depth is not None and depth_below(root, visited.path) >= depth and count
        text = f"{own}{name}" + (f"  ({count:,} below)" if is_cut else "")
        yield Answer({"path": visited.path, "children": count}, text)
        if not is_cut:
            for number, child in enumerate(visited.names, 1):
                branch, trunk = ("└── ", "    ") if number == count else ("├── ", "│   ")
                path = paths.join(visited.path, child)
                before[path] = (children + branch, children + trunk)


@command(
    "find path",
    "list the znodes of a subtree that match all options",
    Option("name", "znodes whose name matches, as in 'lock-*'", "pattern"),
    Option("e", "ephemeral znodes"),
    Option("owner", "ephemeral znodes of the session with this id, as in 0x1001", "session"),
    Option("larger", "znodes with more than N bytes of data", "bytes", int),
    Option("empty", "znodes without children"),
    DEPTH,
)
def _find(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    pattern, owner = arguments.name, _session(arguments.owner)
    needs_stat = arguments.e or owner is not None or arguments.larger is not None
    for visited in _readable(
        context, arguments.path, with_data=needs_stat, max_depth=_depth(arguments.L)
    ):
        if pattern is not None and not fnmatchcase(paths.name_of(visited.path), pattern):
            continue
        if arguments.empty and visited.names:
            continue
        stat = None if visited.found is None else visited.found.stat
        if stat is not None and (
            (arguments.e and not stat.ephemeral_owner)
            or (owner is not None and format_id(stat.ephemeral_owner) != owner)
            or (arguments.larger is not None and stat.data_length <= arguments.larger)
        ):
            continue
        yield Answer({"path": visited.path}, visited.path)


@command(
    "grep pattern path",
    "print the lines of data in a subtree that match a regular expression",
    Option("i", "ignore upper and lower case"),
    Option("F", "take the pattern as plain text, not as a regular expression"),
    Option("l", "print only the paths of znodes with a match"),
    DEPTH,
)
def _grep(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    written = re.escape(arguments.pattern) if arguments.F else arguments.pattern
    try:
        pattern = re.compile(written, re.IGNORECASE if arguments.i else 0)
    except re.error as error:
        raise UsageError(f"{arguments.pattern!r} is not a regular expression: {error}") from error
    has_match = False
    for visited in _readable(
        context, arguments.path, with_data=True, max_depth=_depth(arguments.L)
    ):
        if visited.found is None or visited.found.data is None:
            continue
        text = format_data(visited.found.data)
        matching = [line for line in text.split("\n") if pattern.search(line)]
        has_match = has_match or bool(matching)
        if arguments.l and matching:
            yield Answer({"path": visited.path}, visited.path)
            continue
        for line in matching:
            yield Answer({"path": visited.path, "line": line}, f"{visited.path}: {line}")
    if not has_match:
        raise AnswerIsNo


@command(
    "du path",
    "print the number of data bytes and znodes of a subtree and of the subtrees in it",
    Option("d", "print subtrees down to N levels below the path (default 1)", "depth", int),
)
def _du(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    root, shown_depth = arguments.path, 1 if arguments.d is None else _depth(arguments.d) or 0
    open_sums: list[tuple[str, list[int]]] = []  # from the root to the current znode
    for visited in _readable(context, root, with_data=True):
        depth = depth_below(root, visited.path)
        while len(open_sums) > depth:
            yield _close_sum(open_sums)
        if depth <= shown_depth:
            open_sums.append((visited.path, [0, 0]))
        # A znode below the shown depth counts for its nearest shown ancestor.
        sums = open_sums[-1][1]
        sums[0] += 0 if visited.found is None else visited.found.stat.data_length
        sums[1] += 1
    while open_sums:
        yield _close_sum(open_sums)


def _close_sum(open_sums: list[tuple[str, list[int]]]) -> Answer:
    """Remove the last sum, add it to its parent's sum, and return its line."""
    path, (size_bytes, znodes) = open_sums.pop()
    if open_sums:
        above = open_sums[-1][1]
        above[0] += size_bytes
        above[1] += znodes
    value = {"path": path, "bytes": size_bytes, "znodes": znodes}
    return Answer(value, f"{size_bytes:>12} {znodes:>9} {path}")


def _readable(
    context: Context, root: str, *, with_data: bool = False, max_depth: int | None = None
) -> Iterator[Visited]:
    """Yield a subtree's readable znodes; then raise CommandError if some were not readable."""
    refused: list[str] = []
    yield from context.client.walk(
        root,
        with_data=with_data,
        max_depth=max_depth,
        on_refused=lambda error: refused.append(describe(error)),
    )
    if refused:
        raise CommandError(f"{refused[0]} ({len(refused)} in all)")


def _depth(depth: int | None) -> int | None:
    if depth is not None and depth < 0:
        raise UsageError("a depth must be 0 or more")
    return depth


def _session(written: str | None) -> str | None:
    """Return a session id as the shell prints it; raises UsageError if the id is invalid."""
    try:
        return None if written is None else format_id(int(written, 16))
    except ValueError as error:
        raise UsageError(f"{written!r} is not a session id: write it as in 0x1001") from error
