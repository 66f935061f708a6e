"""``zoolet ensemble``: from one server to an ensemble of Apache ZooKeeper, and back.

Exit statuses: 0 success; 1 something is wrong, or the command failed; 2 wrong usage.
"""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from zoolet.console.reporting import reporting
from zoolet.console.texts import counted
from zoolet.ensemble.checking import Finding, check_copies
from zoolet.ensemble.configurations import Places
from zoolet.ensemble.creation import create_ensemble, undo_ensemble
from zoolet.ensemble.errors import EnsembleError
from zoolet.ensemble.importing import import_ensemble
from zoolet.ensemble.member_directories import find_member
from zoolet.ensemble.members import SYNTAX, parse_member
from zoolet.server.common.errors import ConfigError
from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError

_PATH = click.Path(readable=False, path_type=Path)
_reporting = reporting(EnsembleError, ConfigError, StorageError)


@click.group("ensemble")
def ensemble() -> None:
    """Move from one server to an Apache ZooKeeper ensemble, and back (docs/ensemble.md)."""


@ensemble.command("create")
@click.argument("config", metavar="ZOO.CFG", type=_PATH)
@click.argument("members", metavar=f"'{SYNTAX}'...", nargs=-1, required=True)
@click.option("--to", required=True, metavar="NEWDIR", type=_PATH, help="The new directory.")
@click.option(
    "--data-dir",
    metavar="DIR",
    type=_PATH,
    help="The dataDir in each member's zoo.cfg, if it will be copied to another place.",
)
@click.option("--data-log-dir", metavar="DIR", type=_PATH, help="The dataLogDir in the same way.")
@_reporting
def create_command(
    config: Path,
    members: tuple[str, ...],
    to: Path,
    data_dir: Path | None,
    data_log_dir: Path | None,
) -> None:
    """Create a directory for each member, from the data of a stopped server.

    NEWDIR/ID has the member's zoo.cfg and a copy of the data. The server of ZOO.CFG does not start
    any more, until "zoolet ensemble undo".
    """
    if data_log_dir is not None and data_dir is None:
        raise click.UsageError("--data-log-dir needs --data-dir.")
    named = None if data_dir is None else Places(data_dir, data_log_dir)
    created = create_ensemble(
        Disk(), config, [parse_member(member) for member in members], to, named
    )
    for member, path in created.members:
        click.echo(f"Created member {member.number}: {path}  {member.key}={member.value}")
    _echo_findings(created.findings)
    for key, value in created.java_options.items():
        click.echo(
            f"note: Apache ZooKeeper reads {key} only as a property of Java: -D{key}={value}. Each"
            " member's java.env sets it in SERVER_JVMFLAGS."
        )
    _echo_notes(created.notes)
    click.echo(f"The server of {config} does not start any more. To undo this before the first")
    click.echo(f"start of a member: zoolet ensemble undo {shlex.quote(str(config))}")


@ensemble.command("undo")
@click.argument("directory", metavar="DIR", type=_PATH)
@click.option(
    "--discard-changes",
    is_flag=True,
    help="Also if a member has been started; its changes are only in the ensemble.",
)
@_reporting
def undo_command(directory: Path, discard_changes: bool) -> None:
    """Let the old server start again; DIR is its dataDir or zoo.cfg.

    The members' directories stay. Do not start members afterwards.
    """
    marker = undo_ensemble(Disk(), directory, discards_changes=discard_changes)
    click.echo(f"A server can start on {directory} again.")
    if marker.members:
        click.echo(f"Do not start the members any more: {', '.join(marker.members)}")


@ensemble.command("check")
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=_PATH)
@_reporting
def check_command(directories: tuple[Path, ...]) -> None:
    """Compare the copies of all members before the first start.

    DIR is the directory of a member's zoo.cfg, the zoo.cfg, or a dataDir.
    """
    findings = list(check_copies([find_member(path) for path in directories]))
    _echo_findings(findings)
    sys.exit(0 if all(finding.is_sound for finding in findings) else 1)


@ensemble.command("import")
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=_PATH)
@click.option("--to", required=True, metavar="NEWDIR", type=_PATH, help="The new directory.")
@click.option(
    "--without-majority",
    is_flag=True,
    help="Also if the directories are not those of a majority; changes may be missing.",
)
@_reporting
def import_command(directories: tuple[Path, ...], to: Path, without_majority: bool) -> None:
    """Create the directory of one server from the directories of all stopped members.

    DIR is the directory of a member's zoo.cfg, the zoo.cfg, or a dataDir. The newest data are used.
    """
    imported = import_ensemble(
        Disk(),
        [find_member(path) for path in directories],
        to,
        needs_majority=not without_majority,
    )
    for candidate in imported.candidates:
        if candidate.zxid is None:
            click.echo(f"older: {candidate.member.name} cannot be read: {candidate.error}")
            continue
        word = "newest" if candidate is imported.selected else "ok"
        epoch, zxid = candidate.position
        click.echo(f"{word}: {candidate.member.name}: epoch {epoch}, zxid 0x{zxid:x}")
    _echo_notes(imported.notes)
    click.echo(
        f"Created {imported.path}: {counted(imported.num_znodes, 'znode')},"
        f" {counted(imported.num_sessions, 'session')}, zxid 0x{imported.zxid:x}"
    )
    if imported.config_path is not None:
        start = shlex.quote(str(imported.config_path))
        click.echo(f"Start the server:  zkServer.sh start {start}")
    else:
        click.echo(f"Set dataDir={imported.path / 'data'} in the zoo.cfg of the server.")
    click.echo("Do not start the members any more.")


def _echo_findings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        click.echo(f"{'ok   ' if finding.is_sound else 'WRONG'}  {finding.text}")


def _echo_notes(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(f"note: {note}.")
