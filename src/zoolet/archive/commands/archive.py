"""``zoolet archive``: a continuous archive of a server or an ensemble (docs/backup.md).

Exit statuses: 0 success, also after SIGTERM; 1 the archiver cannot continue, ``--once`` was stopped
before everything was archived, or the check found damage or a gap; 2 wrong usage.
"""

import asyncio
import hashlib
import os
import re
import signal
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from zoolet.archive.checking.checking import check_archive
from zoolet.archive.commands.options import check_finite, state_home
from zoolet.archive.errors import ArchiveError
from zoolet.archive.metrics import ADDRESS, serve_metrics
from zoolet.archive.store.keys import create_key_file, read_key_file
from zoolet.archive.store.store import Store
from zoolet.archive.writing.archiver import Archiver, Options
from zoolet.archive.writing.figures import figures
from zoolet.archive.writing.members import known_lines, lines_of_file, observer_config
from zoolet.archive.writing.observing import archive_ensemble
from zoolet.archive.writing.retention import Rules
from zoolet.archive.writing.retrying import Retrier, Stopping
from zoolet.archive.writing.sources import DirectorySource
from zoolet.archive.writing.status import Status, log
from zoolet.client.command_options import FILE
from zoolet.client.connecting.servers import parse_servers
from zoolet.console.reporting import reporting
from zoolet.console.texts import escaped
from zoolet.data.commands import tracked
from zoolet.model.addresses import AddressError
from zoolet.model.ensemble import LARGEST_ID
from zoolet.server.common.errors import ConfigError, ServerError
from zoolet.server.logs.logs import LogFormat, set_up
from zoolet.storage.disk import Disk
from zoolet.storage.epochs import CURRENT_EPOCH
from zoolet.storage.errors import StorageError
from zoolet.storage.files import VERSION_DIRECTORY, DataDirectories, by_zxid

_STOP_LIMIT_S = 25.0
_END_LIMIT_S = 29.0
_ONCE_FAILING_LIMIT_S = 300.0
_READABLE_CHARACTERS = 60
_DIGEST_CHARACTERS = 16
_LONGEST_INTERVAL_S = 86_400.0
_IPV6_WITH_PORT = re.compile(r"([0-9A-Fa-f:]*:[0-9A-Fa-f:]*):(\d{4,5})")
_reporting = reporting(ArchiveError, ConfigError, ServerError, StorageError)


def _check_hosts(hosts: str) -> None:
    try:
        servers = parse_servers(hosts)
    except AddressError as error:
        raise click.BadParameter(str(error), param_hint="'--from'") from error
    if servers.chroot:
        raise click.BadParameter(
            f"leave out {servers.chroot}: an archive always has the whole tree.",
            param_hint="'--from'",
        )
    for host in hosts.split(","):
        if (found := _IPV6_WITH_PORT.fullmatch(host.strip())) is not None:
            raise click.BadParameter(
                f"{host.strip()!r}: write the IPv6 address in brackets: [{found[1]}]:{found[2]}",
                param_hint="'--from'",
            )


def _check_url(url: str) -> None:
    """Refuse a URL that names another place than its user expects."""
    protocol, separator, rest = url.partition("://")
    advice = ""
    if not separator:
        if (found := re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", url)) is not None:
            advice = f"after {found[0][:-1]!r} write two slashes, or begin the folder with ./"
        elif not url:
            advice = "name a folder, or a URL like s3://BUCKET/PREFIX"
    elif protocol == "memory":
        advice = "an archive in the memory of this process would be lost; name a folder"
    elif protocol == "file" and not rest.startswith("/"):
        advice = "write the absolute path of the folder after file://"
    if advice:
        raise click.BadParameter(f"{url!r}: {advice}.", param_hint="'--to'")


_key_file = click.option(
    "--key-file", type=FILE, help="The encryption key; create it with: zoolet archive key FILE"
)


class _Settings(NamedTuple):
    """The options that both kinds of archivers have."""

    store: Store
    options: Options
    metrics_port: int | None


@click.group("archive", invoke_without_command=True)
@click.option("--from", "hosts", metavar="HOSTS", help="The client addresses of an ensemble.")
@click.option(
    "--from-dir", type=FILE, help="In place of --from: the dataDir of a standalone server."
)
@click.option("--logs", type=FILE, help="With --from-dir: the dataLogDir, if it is another folder.")
@click.option("--once", is_flag=True, help="With --from-dir: stop after everything is archived.")
@click.option("--to", "url", metavar="URL", help="A folder, or a URL like s3://BUCKET/PREFIX.")
@click.option(
    "--config",
    type=FILE,
    help="In place of --from: a member's zoo.cfg, with its server.N lines, TLS and SASL keys.",
)
@click.option("--work-dir", type=FILE, help="The data of the observer [below ~/.local/state].")
@click.option(
    "--my-id",
    type=click.IntRange(1, LARGEST_ID),
    help="The number of the observer; no member has it [a random one from 128 on].",
)
@click.option(
    "--interval",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.1, _LONGEST_INTERVAL_S),
    callback=check_finite,
    help="The seconds between two uploads.",
)
@click.option(
    "--limit-bytes-per-s", default=0, type=click.IntRange(0), help="Limit of the upload [none]."
)
@click.option(
    "--txn-days", default=7, show_default=True, type=click.IntRange(1), help="Keep every txn."
)
@click.option(
    "--hourly-days",
    default=30,
    show_default=True,
    type=click.IntRange(1),
    help="Keep a snapshot per hour; then one per day.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Port of the metrics for Prometheus on 127.0.0.1; 0: any free port.",
)
@_key_file
@click.pass_context
@_reporting
def archive(context: click.Context, /, **given: Any) -> None:
    """Archive every txn of an ensemble or of a standalone server, until SIGTERM.

    Restore from the archive with: zoolet data restore URL --as-of ...
    """
    if context.invoked_subcommand is not None:
        for option in context.command.params:
            if context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
                raise click.UsageError(
                    f"{option.opts[0]}: write the options of {context.invoked_subcommand} after its"
                    " name."
                )
        return
    sources = [name for name in ("hosts", "config", "from_dir") if given[name] is not None]
    if len(sources) != 1 or given["url"] is None:
        raise click.UsageError("give --to and one of --from, --config and --from-dir.")
    _check_url(given["url"])
    if given["hosts"] is not None:
        _check_hosts(given["hosts"])
    is_directory = sources == ["from_dir"]
    for name, needs_directory in (
        ("logs", True),
        ("once", True),
        ("work_dir", False),
        ("my_id", False),
    ):
        if given[name] not in {None, False} and is_directory is not needs_directory:
            other = "--from-dir" if needs_directory else "--from or --config"
            raise click.UsageError(f"--{name.replace('_', '-')} needs {other}.")
    key_file: Path | None = given["key_file"]
    key = None if key_file is None else read_key_file(key_file)
    settings = _Settings(
        Store(given["url"], key, given["limit_bytes_per_s"]),
        Options(
            given["interval"],
            Rules(given["txn_days"], given["hourly_days"]),
            failing_limit_s=_ONCE_FAILING_LIMIT_S if given["once"] else None,
        ),
        given["metrics_port"],
    )
    set_up("info", LogFormat.TEXT, None)
    if is_directory:
        _archive_directory(settings, given["from_dir"], given["logs"], once=given["once"])
    else:
        _archive_ensemble(settings, given)


def _archive_directory(
    settings: _Settings, data_dir: Path, logs: Path | None, *, once: bool
) -> None:
    """Archive the files of a server until SIGTERM or SIGINT."""
    directories = DataDirectories.of(data_dir, logs)
    if not directories.snapshots.is_dir() or not by_zxid(
        Disk().list_names(directories.snapshots), "snapshot"
    ):
        raise ArchiveError(
            f"{data_dir} is not the dataDir of a server: {VERSION_DIRECTORY} in it has no snapshot."
            " Start the server once, or correct --from-dir."
        )
    status, stopping = Status(), Stopping(_STOP_LIMIT_S)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.ask())
    _serve(settings, status)
    log.info("archiving %s to %s", directories.logs, settings.store.url)
    _warn(directories)
    archiver = Archiver(settings.store, settings.options, status, stopping)
    with stopping.enforced(_END_LIMIT_S, _end_process):
        archiver.run(DirectorySource(directories), once=once)
    if once and not status.is_complete:
        raise ArchiveError(
            "not everything is archived: the archiver was stopped before. Run the command again."
        )


def _warn(directories: DataDirectories) -> None:
    """Log what may be wrong with the directories of a standalone server."""
    disk = Disk()
    if not by_zxid(disk.list_names(directories.logs), "log"):
        log.warning(
            "%s has no transaction log: no txn is archived. If the server has a dataLogDir, give it"
            " with --logs",
            directories.logs,
        )
    if CURRENT_EPOCH in disk.list_names(directories.snapshots):
        log.warning(
            "%s is, or was, the directory of a member of an ensemble. If it is one now, archive"
            " the ensemble with --from: the log of a member may have txns that are never committed",
            directories.snapshots,
        )


def _archive_ensemble(settings: _Settings, given: dict[str, Any]) -> None:
    """Archive an ensemble until SIGTERM or SIGINT."""
    work_dir = _work_dir(given["work_dir"], settings.store.url)
    config_file: Path | None = given["config"]
    if config_file is not None:
        lines = lines_of_file(config_file)
    else:
        lines = known_lines(given["hosts"], work_dir)
    source = config_file if config_file is not None else Path(given["hosts"])
    config = observer_config(work_dir, lines, given["my_id"], source)
    status, stopping = Status(), Stopping(_STOP_LIMIT_S)
    _serve(settings, status)
    log.info(
        "archiving the ensemble of %s to %s as observer %d; work directory %s",
        source,
        settings.store.url,
        config.observer.my_id if config.observer is not None else 0,
        work_dir,
    )
    archiver = Archiver(settings.store, settings.options, status, stopping)
    with stopping.enforced(_END_LIMIT_S, _end_process):
        asyncio.run(archive_ensemble(archiver, config, Retrier(stopping, status), stopping))


def _end_process() -> None:
    """End the process in the middle of a request; the next start continues."""
    log.error("the store does not answer: the archiver ends without its last upload")
    os._exit(1)


def _work_dir(given: Path | None, url: str) -> Path:
    """Return the work directory; the default one depends on the archive."""
    if given is not None:
        return given.absolute()
    absolute = url if "://" in url else str(Path(url).absolute())
    readable = "".join(each if each.isalnum() else "-" for each in absolute).strip("-")
    digest = hashlib.sha256(absolute.encode()).hexdigest()
    name = f"{readable[-_READABLE_CHARACTERS:]}-{digest[:_DIGEST_CHARACTERS]}"
    return state_home() / "archive" / name


def _serve(settings: _Settings, status: Status) -> None:
    if settings.metrics_port is not None:
        port = serve_metrics(settings.metrics_port, partial(figures, status))
        log.info("metrics on http://%s:%d/metrics", ADDRESS, port)


@archive.command("check")
@click.argument("url")
@_key_file
@_reporting
def check_command(url: str, key_file: Path | None) -> None:
    """Read every object of an archive; print a line for each damage and each gap.

    The exit status is 1 if there is any damage or gap.
    """
    store = Store(url, None if key_file is None else read_key_file(key_file))
    problems = objects = 0

    def counted(names: list[str]) -> Iterable[str]:
        nonlocal objects
        objects = len(names)
        return tracked(names, "Reading", objects)

    for finding in check_archive(store, counted):
        click.echo(f"{finding.kind:<8} {escaped(finding.text)}")
        problems += finding.is_problem
    click.echo(f"{objects + 1} objects, {problems} problems")
    sys.exit(1 if problems else 0)


@archive.command("key")
@click.argument("file", type=FILE)
@_reporting
def key_command(file: Path) -> None:
    """Create a file with a new encryption key. Keep a copy: without it, nothing can be restored."""
    key = create_key_file(file)
    click.echo(f"{file}: key {key.id}. Keep a copy of this file in another place than the archive.")
