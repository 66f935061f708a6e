"""Commands that copy, move or compare subtrees: cp, mv, export, import, diff.

A place is a path on the connected server, or ``HOST:PORT/PATH`` on another server.
"""

import argparse
import errno
import json
import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from kazoo.exceptions import NoNodeError
from kazoo.protocol.serialization import Delete

from zoolet.client.kazoo import count_descendants, full_path, multi_async
from zoolet.console.texts import counted
from zoolet.exports.lines import (
    ExportedZnode,
    ExportError,
    ExportHeader,
    read_export,
    show_znode,
    write_export,
)
from zoolet.model import paths
from zoolet.model.acl_texts import format_acl
from zoolet.model.owner_kinds import OwnerKind
from zoolet.process.interrupts import held_back
from zoolet.shell.answers import Answer
from zoolet.shell.commands.arguments import Option
from zoolet.shell.commands.registry import command
from zoolet.shell.commands.writing import SURE
from zoolet.shell.context import Context, Place
from zoolet.shell.errors import AnswerIsNo, CommandError, describe
from zoolet.shell.formatting import format_data
from zoolet.shell.subtrees.multis import MULTI_BYTES, first_error, in_batches
from zoolet.shell.subtrees.transfer import (
    Writer,
    Written,
    is_ephemeral,
    is_system,
    moved,
    operation_for,
    read_znodes,
    size_of,
)

REPLACE = Option("f", "overwrite the data and the ACL of znodes that exist already")
KEEP_EPHEMERALS = Option("e", "copy ephemerals as persistent znodes")
NO_ACLS = Option("A", "ignore ACLs: everybody has all permissions for created znodes")

_HAS_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""The errors of a file system without hard links, such as FAT and some network drives."""

_SHOWN_CHARACTERS = 200
"""The most characters of a value (data, ACL) that a line of diff shows."""

_MOVED_AT_ONCE = 500
"""The most znodes that one multi moves. Each znode takes two operations: create and delete."""


@command(
    "cp source target",
    "copy a subtree; target is the path of the copy's root",
    REPLACE,
    KEEP_EPHEMERALS,
    NO_ACLS,
    SURE,
    changes=True,
)
def _cp(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    with (
        context.place(arguments.source) as origin,
        context.place(arguments.target) as goal,
    ):
        source_client, source, _ = origin
        target_client, target, _ = goal
        _refuse_inside(source_client, source, target_client, target)
        total = _count(source_client, source)
        _ask_to_replace(context, goal, arguments)
        znodes = read_znodes(source_client, source, with_acl=not arguments.A)
        with context.output.progress("Copying", total) as advance:
            writer = Writer(
                target_client,
                replaces=arguments.f,
                with_acl=not arguments.A,
                keeps_ephemerals=arguments.e,
                advance=advance,
            )
            written = writer.write(moved(znode, source, target) for znode in znodes)
    yield _tell("copied", arguments.source, arguments.target, written)


@command(
    "mv source target",
    "move a subtree; target is the new path of its root",
    KEEP_EPHEMERALS,
    NO_ACLS,
    SURE,
    changes=True,
)
def _mv(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    with (
        context.place(arguments.source) as origin,
        context.place(arguments.target) as goal,
    ):
        source_client, source, _ = origin
        target_client, target, _ = goal
        context.refuse_root(source, "mv")
        _refuse_inside(source_client, source, target_client, target)
        total = _count(source_client, source)
        context.confirm(f"Move {origin} to {goal}", total, is_sure=arguments.y)
        moving = _Moving(context, arguments, total)
        written = moving.move(source_client, source, target_client, target)
    yield _tell("moved", arguments.source, arguments.target, written)


class _Moving:
    """Moves a subtree: in one multi if it fits, otherwise with a copy and deletes."""

    def __init__(self, context: Context, arguments: argparse.Namespace, total: int) -> None:
        self._context = context
        self._keeps_ephemerals = arguments.e
        self._with_acl = not arguments.A
        self._total = total

    def move(self, source_client: Any, source: str, target_client: Any, target: str) -> Written:
        """Move ``source`` to ``target``.

        Raises CommandError; the message says what was copied and deleted.
        """
        znodes = self._movable(read_znodes(source_client, source, with_acl=self._with_acl))
        if source_client is target_client:
            first = list(islice(znodes, _MOVED_AT_ONCE + 1))
            if len(first) <= _MOVED_AT_ONCE and sum(map(size_of, first)) * 2 < MULTI_BYTES:
                return self._move_at_once(source_client, first, source, target)
            znodes = chain(first, znodes)
        versions: list[tuple[str, int]] = []
        with self._context.output.progress("Copying", self._total) as advance:
            writer = Writer(
                target_client,
                replaces=False,
                with_acl=self._with_acl,
                keeps_ephemerals=True,
                advance=advance,
            )
            written = writer.write(self._noting(znodes, versions, source, target))
        self._delete(source_client, versions[::-1], source)
        return written

    def _movable(self, znodes: Iterator[ExportedZnode]) -> Iterator[ExportedZnode]:
        for znode in znodes:
            if is_ephemeral(znode) and not self._keeps_ephemerals:
                raise CommandError(
                    f"{znode.path} is ephemeral and belongs to its session: close the session, or"
                    " move ephemerals as persistent znodes with -e. Nothing was deleted"
                )
            yield znode

    def _move_at_once(
        self, client: Any, znodes: list[ExportedZnode], source: str, target: str
    ) -> Written:
        """Create and delete in one multi, which fails if a znode was changed after the read."""
        operations = [operation_for(client, moved(znode, source, target)) for znode in znodes]
        operations += [
            Delete(full_path(client, znode.path), znode.stat.version) for znode in reversed(znodes)
        ]
        answers = multi_async(client, operations).get()
        error = first_error(answers)
        if error is not None:
            place = operations[answers.index(error)].path
            raise CommandError(f"{describe(error, client.unchroot(place))}; nothing was moved")
        return Written(len(znodes), 0, 0)

    def _noting(
        self,
        znodes: Iterator[ExportedZnode],
        versions: list[tuple[str, int]],
        source: str,
        target: str,
    ) -> Iterator[ExportedZnode]:
        """Yield the copies, and append the copied version of each znode to ``versions``."""
        for znode in znodes:
            versions.append((znode.path, znode.stat.version))
            yield moved(znode, source, target)

    def _delete(self, client: Any, versions: list[tuple[str, int]], source: str) -> None:
        """Delete the copied znodes; fail at a znode whose version changed after the copy."""
        deleted = 0
        try:
            with self._context.output.progress("Deleting", len(versions)) as advance:
                for batch in in_batches(versions, _MOVED_AT_ONCE, lambda one: len(one[0].encode())):
                    with held_back():
                        self._delete_batch(client, batch)
                        deleted += len(batch)
                    advance(len(batch))
        except (CommandError, KeyboardInterrupt) as error:
            raise CommandError(
                f"{describe(error, '')}; everything was copied, and"
                f" {deleted} of {len(versions)} znodes of {source} were deleted"
            ) from error

    def _delete_batch(self, client: Any, batch: list[tuple[str, int]]) -> None:
        operations = [Delete(full_path(client, path), version) for path, version in batch]
        answers = multi_async(client, operations).get()
        error = first_error(answers)
        if error is not None:
            path = batch[answers.index(error)][0]
            raise CommandError(f"{describe(error, path)}, which was changed after it was copied")


@command(
    "export path [file]",
    "write a subtree as lines of JSON, to a new file or to standard output",
    NO_ACLS,
)
def _export(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    client, path = context.client, arguments.path
    total = _count(client, path)
    znodes = read_znodes(client, path, with_acl=not arguments.A)
    first = next(znodes, None)
    if first is None:
        raise CommandError(describe(NoNodeError(), path))
    header = ExportHeader(client.last_zxid, path)
    whole = chain([first], znodes)
    if arguments.file is None:
        for line in write_export(header, whole):
            yield Answer(json.loads(line), line)
        return
    with context.output.progress("Exporting", total) as advance:
        lines = write_export(header, _advancing(whole, advance))
        count = _write_new(Path(arguments.file), lines) - 1
    value = {"exported": path, "file": arguments.file, "znodes": count}
    yield Answer(value, f"Exported {counted(count, 'znode')} of {path} to {arguments.file}")


def _advancing(znodes: Iterator[ExportedZnode], advance: Any) -> Iterator[ExportedZnode]:
    for znode in znodes:
        yield znode
        advance(1)


def _write_new(path: Path, lines: Iterator[str]) -> int:
    """Write a file and return its number of lines. The file exists only when it is complete."""
    count = 0
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        if path.exists():
            raise CommandError(f"{path} exists already: give the name of a new file")
        with unfinished.open("x", encoding="utf-8") as output:
            for line in lines:
                output.write(f"{line}\n")
                count += 1
        _give_name(unfinished, path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _give_name(unfinished: Path, path: Path) -> None:
    """Give a complete file its name; raises FileExistsError if another file has the name."""
    try:
        os.link(unfinished, path)  # unlike a rename, a link never replaces a file
    except OSError as error:
        if error.errno not in _HAS_NO_LINKS:
            raise
        path.open("x").close()
        unfinished.replace(path)


@command(
    "import file path",
    "create a subtree from a file of the command export, or of zoolet data export",
    REPLACE,
    KEEP_EPHEMERALS,
    NO_ACLS,
    SURE,
    changes=True,
)
def _import(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    file, path = Path(arguments.file), arguments.path
    total = sum(1 for _ in _imported(file, path))  # reads all lines before any write
    _ask_to_replace(context, context.here(path), arguments)
    with context.output.progress("Importing", total) as advance:
        writer = Writer(
            context.client,
            replaces=arguments.f,
            with_acl=not arguments.A,
            keeps_ephemerals=arguments.e,
            advance=advance,
        )
        written = writer.write(_imported(file, path))
    yield _tell("imported", arguments.file, path, written)


def _imported(file: Path, target: str) -> Iterator[ExportedZnode]:
    """Yield the znodes of an export with their paths below ``target``; raises CommandError."""
    try:
        with file.open(encoding="utf-8") as lines:
            header, znodes = read_export(lines)
            for znode in znodes:
                is_own = header.root == paths.ROOT and is_system(znode.path)
                if not is_own and (znode.path, target) != (paths.ROOT, paths.ROOT):
                    yield moved(znode, header.root, target)
    except ExportError as error:
        raise CommandError(f"{file}:{error}. Create an export file with: export") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from error


@command("diff left right", "compare two subtrees; the exit status is 1 if they differ", NO_ACLS)
def _diff(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    differs = False
    with (
        context.place(arguments.left) as (left_client, left, _),
        context.place(arguments.right) as (right_client, right, _),
    ):
        ours = _relative(read_znodes(left_client, left, with_acl=not arguments.A), left)
        theirs = _relative(read_znodes(right_client, right, with_acl=not arguments.A), right)
        for answer in _differences(ours, theirs):
            differs = True
            yield answer
    if differs:
        raise AnswerIsNo


def _relative(znodes: Iterator[ExportedZnode], root: str) -> Iterator[ExportedZnode]:
    return (moved(znode, root, paths.ROOT) for znode in znodes)


def _differences(
    ours: Iterator[ExportedZnode], theirs: Iterator[ExportedZnode]
) -> Iterator[Answer]:
    """Yield the differences, path by path. Both arguments must be in the order of a walk."""
    left, right = next(ours, None), next(theirs, None)
    while True:
        if left is not None and (right is None or _order(left) < _order(right)):
            yield Answer({"only": "left", **show_znode(left)}, f"- {left.path}")
            left = next(ours, None)
        elif right is not None and (left is None or _order(right) < _order(left)):
            yield Answer({"only": "right", **show_znode(right)}, f"+ {right.path}")
            right = next(theirs, None)
        elif left is not None and right is not None:
            yield from _unlike(left, right)
            left, right = next(ours, None), next(theirs, None)
        else:
            return


def _order(znode: ExportedZnode) -> list[str]:
    """Return the sort key that puts paths in the order of a walk: subtrees stay together."""
    return znode.path.split("/") if znode.path != paths.ROOT else [""]


def _unlike(left: ExportedZnode, right: ExportedZnode) -> Iterator[Answer]:
    """Yield one answer with the differences of two znodes with the same path, if any."""
    shown = [
        {
            "data": format_data(znode.data),
            "acl": format_acl(znode.acl),
            "owner": OwnerKind.of(znode.stat.ephemeral_owner).name.lower(),
        }
        for znode in (left, right)
    ]
    ours, theirs = shown
    # Different data can have the same text: null and the text "null", a byte and its escape.
    unlike = [name for name in ours if ours[name] != theirs[name]]
    if "data" not in unlike and left.data != right.data:
        unlike.insert(0, "data")
        ours["data"], theirs["data"] = repr(left.data), repr(right.data)
    if unlike:
        lines = [f"    {name}: {_short(ours[name])} -> {_short(theirs[name])}" for name in unlike]
        value = {name: [ours[name], theirs[name]] for name in unlike}
        yield Answer({"path": left.path, "differs": value}, "\n".join([f"~ {left.path}", *lines]))


def _short(text: str) -> str:
    """Return a text in one line, shortened to ``_SHOWN_CHARACTERS``."""
    line = text.replace("\n", "\\n")
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."


def _count(client: Any, path: str) -> int:
    """Return the number of znodes of a subtree, with its root."""
    return count_descendants(client, path) + 1


def _refuse_inside(source_client: Any, source: str, target_client: Any, target: str) -> None:
    is_inside = f"{target}/".startswith("/" if source == paths.ROOT else f"{source}/")
    if source_client is target_client and is_inside:
        raise CommandError(f"{target} is inside {source}: the copy would never end")


def _ask_to_replace(context: Context, target: Place, arguments: argparse.Namespace) -> None:
    """Ask for confirmation if -f may overwrite more than one existing znode."""
    if not arguments.f:
        return
    try:
        present = _count(target.client, target.path)
    except NoNodeError:
        return
    context.confirm(f"Overwrite {target}", present, is_sure=arguments.y)


def _tell(done: str, source: str, target: str, written: Written) -> Answer:
    count = counted(written.created + written.replaced, "znode")
    text = f"{done.capitalize()} {count} from {source} to {target}"
    if written.replaced:
        text += f"; {written.replaced} of them existed and were overwritten"
    if written.left_out:
        text += f"; left out {counted(written.left_out, 'ephemeral')}"
    value = {done: source, "to": target, **written._asdict()}
    return Answer(value, text)
