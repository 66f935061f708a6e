"""``zoolet data history``."""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from zoolet.archive.commands.options import MomentType, key_option, logs_option
from zoolet.archive.errors import ArchiveError
from zoolet.archive.reading.opening import open_source
from zoolet.archive.reading.source import AbandonedTxns, Found, MissingTxns
from zoolet.console.reporting import reporting
from zoolet.data.commands import checked_path, tracked
from zoolet.data.history import History
from zoolet.data.json_form import show_time, show_txn
from zoolet.exports.lines import Shown
from zoolet.model.txns import Txn
from zoolet.storage.errors import StorageError
from zoolet.storage.recovery import ALL, AsOf


@click.command("history")
@click.argument("source")
@click.argument("path")
@click.option(
    "--since", type=MomentType(), default=ALL, show_default=False, help="The first txn to show."
)
@click.option(
    "--until", type=MomentType(), default=ALL, show_default=False, help="The last txn to show."
)
@click.option("--recursive", is_flag=True, help="Also show the changes of all znodes below PATH.")
@logs_option
@key_option
@reporting(StorageError, ArchiveError)
def history_command(
    source: str,
    path: str,
    since: AsOf,
    until: AsOf,
    recursive: bool,
    logs: Path | None,
    key_file: Path | None,
) -> None:
    """Print every change of a znode, as JSON lines.

    SOURCE is a data directory, or the folder or URL of an archive. If an archive lacks txns, a line
    of the type "missing_txns" says which. A server that was set back lacks archived txns. A line
    of the type "abandoned_txns" says which.
    """
    history = History(checked_path(path), is_recursive=recursive)
    txns = open_source(source, logs, key_file).txns(since, until)
    for found in tracked(txns, "Reading"):
        for shown in _shown(history, found):
            click.echo(json.dumps(shown, ensure_ascii=False))


def _shown(history: History, found: Found) -> Iterator[Shown]:
    if isinstance(found, MissingTxns):
        yield {
            "type": "missing_txns",
            "reason": found.reason,
            "after": f"0x{found.after_zxid:x}",
            "after_time": None if found.after_ms is None else show_time(found.after_ms),
            "before": f"0x{found.before_zxid:x}",
            "before_time": None if found.before_ms is None else show_time(found.before_ms),
        }
        return
    if isinstance(found, AbandonedTxns):
        # The server was set back: it does not have the archived txns of this range any more.
        yield {
            "type": "abandoned_txns",
            "after": f"0x{found.after_zxid:x}",
            "until": f"0x{found.until_zxid:x}",
        }
        return
    for change in history.changes_of(found):
        yield show_txn(Txn(change.header, change.what)) | {"type": change.name}
