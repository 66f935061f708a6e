"""Commands that copy, move or compare subtrees: cp, mv, export, import, diff.

A place is a path on the connected server, or ``HOST:PORT/PATH`` on another server.
"""

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator

from zoolet.client.errors import (
    BadVersionError,
    NoNodeError,
    NotEmptyError,
    ZooKeeperError,
)
from zoolet.client.export_files import imported_znodes
from zoolet.client.transfers import Transferred, check_not_inside, moved
from zoolet.console.texts import counted
from zoolet.exports.lines import ExportedZnode, ExportError, show_znode
from zoolet.model import paths
from zoolet.model.acl_texts import format_acl
from zoolet.model.owner_kinds import OwnerKind
from zoolet.shell.answers import Answer
from zoolet.shell.commands.arguments import Option
from zoolet.shell.commands.registry import command
from zoolet.shell.commands.writing import SURE
from zoolet.shell.context import Context, Place
from zoolet.shell.errors import AnswerIsNo, CommandError, describe, is_uncounted
from zoolet.shell.formatting import format_data

REPLACE = Option("f", "overwrite the data and the ACL of znodes that exist already")
KEEP_EPHEMERALS = Option("e", "copy ephemerals as persistent znodes")
NO_ACLS = Option("A", "ignore ACLs: everybody has all permissions for created znodes")

_SHOWN_CHARACTERS = 200
"""The most characters of a value (data, ACL) that a line of diff shows."""


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
        _refuse_inside(origin, goal)
        total = _count(origin)
        _ask_to_replace(context, goal, arguments)
        context.has_changed = True
        with (
            context.output.progress("Copying", total) as advance,
            _counting(_told_of_writing, advance) as progress,
        ):
            written = origin.client.copy_subtree(
                origin.path,
                goal.path,
                to=goal.client,
                replaces=arguments.f,
                with_acl=not arguments.A,
                keeps_ephemerals=arguments.e,
                progress=progress,
            )
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
        context.refuse_root(origin.path, "mv")
        _refuse_inside(origin, goal)
        total = _count(origin)
        context.confirm(f"Move {origin} to {goal}", total, is_sure=arguments.y)
        context.has_changed = True

        def tell(done: Transferred, error: BaseException) -> str:
            return _told_of_move(done, error, origin.path)

        with (
            context.output.progress("Moving", total * 2) as advance,
            _counting(tell, advance) as progress,
        ):
            written = origin.client.move_subtree(
                origin.path,
                goal.path,
                to=goal.client,
                with_acl=not arguments.A,
                keeps_ephemerals=arguments.e,
                progress=progress,
            )
    yield _tell("moved", arguments.source, arguments.target, written)


@contextlib.contextmanager
def _counting(
    tell: Callable[[Transferred, BaseException], str], advance: Callable[[int], None]
) -> Iterator[Callable[[Transferred], None]]:
    """Give the function that notes the progress of a transfer.

    If the transfer fails, raise CommandError: ``tell`` returns what had been done until then. After
    a second Ctrl-C, this is not known.
    """
    done = Transferred()

    def note(newer: Transferred) -> None:
        nonlocal done
        steps = newer.written + newer.deleted - done.written - done.deleted
        done = newer
        advance(steps)

    try:
        yield note
    except (ZooKeeperError, ExportError, OSError, ValueError, KeyboardInterrupt) as error:
        if is_uncounted(error):
            raise
        cause = describe(error)
        if isinstance(error, ZooKeeperError) and error.request == "set_acl":
            cause += " (its ACL)"
        raise CommandError(f"{cause}{tell(done, error)}") from error


def _told_of_writing(done: Transferred, _error: BaseException) -> str:
    if done.written:
        return f"; {counted(done.written, 'znode')} had been written"
    return "; nothing was written"


def _told_of_move(done: Transferred, error: BaseException, source: str) -> str:
    if done.is_copied:
        is_changed = isinstance(error, (BadVersionError, NotEmptyError, NoNodeError))
        cause = ", which was changed after it was copied" if is_changed else ""
        return (
            f"{cause}; everything was copied, and {done.deleted} of {done.written} znodes of"
            f" {source} were deleted"
        )
    if done.written:
        return _told_of_writing(done, error)
    return "; nothing was moved"


@command(
    "export path [file]",
    "write a subtree as lines of JSON, to a new file or to standard output",
    NO_ACLS,
)
def _export(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    client, path, file = context.client, arguments.path, arguments.file
    if file is None:
        for line in client.export_lines(path, with_acl=not arguments.A):
            yield Answer(json.loads(line), line)
        return
    with context.output.progress("Exporting", client.count_descendants(path) + 1) as advance:
        try:
            count = client.export_subtree(
                path, file, with_acl=not arguments.A, progress=lambda _: advance(1)
            )
        except FileExistsError as error:
            raise CommandError(
                f"{error.filename} exists already: give the name of a new file"
            ) from error
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error}") from error
    value = {"exported": path, "file": file, "znodes": count}
    yield Answer(value, f"Exported {counted(count, 'znode')} of {path} to {file}")


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
    file, path = arguments.file, arguments.path
    total = sum(1 for _ in _imported(file, path))  # reads all lines before any write
    _ask_to_replace(context, context.here(path), arguments)
    with (
        context.output.progress("Importing", total) as advance,
        _counting(_told_of_writing, advance) as progress,
    ):
        written = context.changing_client.write_subtree(
            _imported(file, path),
            replaces=arguments.f,
            with_acl=not arguments.A,
            keeps_ephemerals=arguments.e,
            progress=progress,
        )
    yield _tell("imported", file, path, written)


def _imported(file: str, target: str) -> Iterator[ExportedZnode]:
    """Yield the znodes of an export with their paths below ``target``; raises CommandError."""
    try:
        yield from imported_znodes(file, target)
    except ExportError as error:
        raise CommandError(f"{error}. Create an export file with: export") from error
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error}") from error


@command("diff left right", "compare two subtrees; the exit status is 1 if they differ", NO_ACLS)
def _diff(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    differs = False
    with context.place(arguments.left) as left, context.place(arguments.right) as right:
        ours = _relative(left, with_acl=not arguments.A)
        theirs = _relative(right, with_acl=not arguments.A)
        for answer in _differences(ours, theirs):
            differs = True
            yield answer
    if differs:
        raise AnswerIsNo


def _relative(place: Place, *, with_acl: bool) -> Iterator[ExportedZnode]:
    """Yield the znodes at a place, with their paths below its root."""
    for znode in place.client.read_subtree(place.path, with_acl=with_acl):
        yield moved(znode, place.path, paths.ROOT)


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


def _count(place: Place) -> int:
    """Return the number of znodes of a subtree, with its root."""
    return place.client.count_descendants(place.path) + 1


def _refuse_inside(source: Place, target: Place) -> None:
    if source.client is target.client:
        try:
            check_not_inside(source.path, target.path)
        except ValueError as error:
            raise CommandError(str(error)) from error


def _ask_to_replace(context: Context, target: Place, arguments: argparse.Namespace) -> None:
    """Ask for confirmation if -f may overwrite more than one existing znode."""
    if not arguments.f:
        return
    try:
        present = _count(target)
    except NoNodeError:
        return
    context.confirm(f"Overwrite {target}", present, is_sure=arguments.y)


def _tell(done: str, source: str, target: str, written: Transferred) -> Answer:
    count = counted(written.created + written.replaced, "znode")
    text = f"{done.capitalize()} {count} from {source} to {target}"
    if written.replaced:
        text += f"; {written.replaced} of them existed and were overwritten"
    if written.left_out:
        text += f"; left out {counted(written.left_out, 'ephemeral')}"
    value = {
        done: source,
        "to": target,
        "created": written.created,
        "replaced": written.replaced,
        "left_out": written.left_out,
    }
    return Answer(value, text)
