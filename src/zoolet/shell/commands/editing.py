"""``edit``: a znode's data in an editor, written back only if nobody changed it meanwhile."""

import argparse
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kazoo.exceptions import BadVersionError, NoNodeError, ZookeeperError

from zoolet.shell.answers import Answer
from zoolet.shell.commands.writing import explaining_size
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError, describe
from zoolet.shell.formatting import stat_value
from zoolet.shell.interrupts import left_to_another_program
from zoolet.shell.registry import command


@command("edit path", "change a znode's data in $VISUAL or $EDITOR", changes=True)
def _edit(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    path = arguments.path
    data, stat = context.client.get(path)
    before = data or b""
    descriptor, name = tempfile.mkstemp(prefix="zoolet-edit-")
    file = Path(name)
    with os.fdopen(descriptor, "wb") as output:
        output.write(before)
    try:
        after = _without_added_end(before, _edited(context.settings.editor, file))
    except CommandError:
        file.unlink()
        raise
    if after == before:
        file.unlink()
        yield Answer({"path": path, "changed": False}, "Nothing was changed")
        return
    is_sent = False
    try:
        # The editor may have been open for long: the connection may be on its way back.
        context.connection.wait()
        is_sent = True
        with explaining_size(len(after)):
            written = context.client.set(path, after, version=stat.version)
    except (BadVersionError, NoNodeError) as error:
        raise CommandError(
            f"{path} was changed by someone else while you edited it, and was left as they made it."
            f" Your text is in {file}"
        ) from error
    except KeyboardInterrupt as interrupt:
        told = "whether the text was set is not known" if is_sent else "nothing was set"
        raise CommandError(f"^C; {told}. Your text is in {file}") from interrupt
    except (CommandError, ZookeeperError) as error:
        told = str(error) if isinstance(error, CommandError) else describe(error, path)
        raise CommandError(f"{told}. Your text is in {file}") from error
    file.unlink()
    value = {"path": path, "changed": True, "stat": stat_value(written)}
    yield Answer(value, f"Set {path}, version {written.version}")


def _edited(editor: str, file: Path) -> bytes:
    """Let the editor change a file; returns what it then holds. Ctrl-C is the editor's."""
    try:
        with left_to_another_program():
            status = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
    except (OSError, ValueError) as error:
        raise CommandError(f"{editor} cannot be started: {error}. Set EDITOR") from error
    if status != 0:
        raise CommandError(f"{editor} ended with status {status}; nothing was set")
    return file.read_bytes()


def _without_added_end(before: bytes, after: bytes) -> bytes:
    """Return the text without the line feed that editors put at the end of a last line."""
    is_added = after.endswith(b"\n") and not before.endswith(b"\n")
    return after[:-1] if is_added else after
