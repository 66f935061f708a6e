"""``edit``: edit a znode's data in an editor; set it only if nobody else changed the znode."""

import argparse
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from zoolet.client.errors import BadVersionError, NoNodeError, ZooKeeperError
from zoolet.process.interrupts import left_to_another_program
from zoolet.shell.answers import Answer
from zoolet.shell.commands.registry import command
from zoolet.shell.commands.writing import explaining_size
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError, describe
from zoolet.shell.formatting import stat_value


@command("edit path", "edit a znode's data with $VISUAL or $EDITOR", changes=True)
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
        # The editor may have been open for a long time, and the connection may be lost.
        context.connection.wait()
        is_sent = True
        with explaining_size(len(after)):
            written = context.changing_client.set(path, after, version=stat.version)
    except (BadVersionError, NoNodeError) as error:
        raise CommandError(
            f"Another client changed {path} while you edited it; your text was not set."
            f" Your text is in {file}"
        ) from error
    except KeyboardInterrupt as interrupt:
        told = "the text may have been set or not" if is_sent else "nothing was set"
        raise CommandError(f"^C; {told}. Your text is in {file}") from interrupt
    except (CommandError, ZooKeeperError) as error:
        raise CommandError(f"{describe(error, path)}. Your text is in {file}") from error
    file.unlink()
    value = {"path": path, "changed": True, "stat": stat_value(written)}
    yield Answer(value, f"Set {path}, version {written.version}")


def _edited(editor: str, file: Path) -> bytes:
    """Run the editor on a file and return the file's new content. Ctrl-C goes to the editor."""
    try:
        with left_to_another_program():
            status = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
    except (OSError, ValueError) as error:
        raise CommandError(
            f"{editor} cannot be started: {error}. Set $EDITOR to another editor"
        ) from error
    if status != 0:
        raise CommandError(f"{editor} ended with status {status}; nothing was set")
    return file.read_bytes()


def _without_added_end(before: bytes, after: bytes) -> bytes:
    """Return ``after`` without the final line feed if the editor added it."""
    is_added = after.endswith(b"\n") and not before.endswith(b"\n")
    return after[:-1] if is_added else after
