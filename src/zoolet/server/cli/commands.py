"""``zoolet server``, also called ``zkServer.sh``: start, stop and inspect a server.

This module defines the arguments, the messages and the exit statuses. ``control`` and
``foreground`` do the work of the commands.
"""

import os
from pathlib import Path
from typing import NamedTuple

import click

from zoolet.console.reporting import fail
from zoolet.model.build import DESCRIPTION
from zoolet.process.service_manager import ServiceManager
from zoolet.server.cli import control, foreground
from zoolet.server.cli.environment import Environment
from zoolet.server.cli.foreground import LOG_FORMATS, Options, Setup, reporting_errors
from zoolet.server.common.errors import ConfigError, ServerError
from zoolet.server.logs.logs import LEVELS
from zoolet.server.zoo_cfg.config import Config
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.storage.errors import StorageError

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_SHOWN = ("Mode: ", "Leader: ", "Lag: ", "Release ")
"""The lines of ``srvr`` that ``status`` prints; all but the first are those of an observer."""


class _Caller(NamedTuple):
    """The directory that ``--config`` names, and the service manager of this process."""

    config_directory: Path | None
    service_manager: ServiceManager


def _caller() -> _Caller:
    caller = click.get_current_context().find_object(_Caller)
    assert caller is not None  # noqa: S101 -- the group sets it
    return caller


def _read_and_tell(path: Path | None, *, starts: bool = False) -> Setup:
    setup = Setup.read(path, _caller().config_directory, starts=starts)
    click.echo(f"Using config: {setup.config_path}", err=True)
    for warning in setup.warnings:
        click.echo(f"zoolet: {warning}", err=True)
    return setup


@click.group("server", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory of zoo.cfg; by default ZOOCFGDIR.",
)
@click.pass_context
def server(ctx: click.Context, directory: Path | None) -> None:
    """Start, stop and inspect a server; each command takes the path of a zoo.cfg.

    The variables ZOOCFGDIR, ZOOCFG, ZOO_LOG_DIR, ZOOPIDFILE, SERVER_JVMFLAGS and JVMFLAGS have the
    same meaning as in Apache ZooKeeper.
    """
    # This also removes the variables, so a server that start starts sends nothing to the service
    # manager of the shell.
    ctx.obj = _Caller(directory, ServiceManager.take(os.environ, os.getpid()))


_PATH = click.Path(readable=False, path_type=Path)  # the code that opens the file reports errors

_config_argument = click.argument("config", required=False, type=_PATH)
_level_option = click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    help="The lowest level that is logged.",
)
_format_option = click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default="text",
    help="The format of the log; json: one object per line.",
)


_discard_option = click.option(
    "--discard-local-data",
    "discards_local_data",
    is_flag=True,
    help="For an observer: move the data in dataDir to another folder, and get all data from the"
    " leader.",
)


@server.command("start-foreground")
@_config_argument
@_level_option
@_format_option
@click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    help="Log to this file instead of standard error. SIGHUP reopens the file.",
)
@click.option(
    "--apache-exit-status",
    "has_apache_status",
    is_flag=True,
    help="Exit with Apache ZooKeeper's status: 143 after SIGTERM, 130 after Ctrl-C, 2 if zoo.cfg is"
    " wrong, 3 if a directory cannot be used.",
)
@click.option("--ready-fd", type=int, hidden=True)
@_discard_option
def start_foreground(
    config: Path | None,
    log_level: str,
    log_format: str,
    discards_local_data: bool,
    log_file: Path | None,
    has_apache_status: bool,
    ready_fd: int | None,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    options = Options(
        config, log_level, log_format, discards_local_data, log_file, has_apache_status, ready_fd
    )
    caller = _caller()
    foreground.start_foreground(options, caller.service_manager, caller.config_directory)


@server.command("start")
@_config_argument
@_level_option
@_format_option
@_discard_option
@reporting_errors
def start(config: Path | None, log_level: str, log_format: str, discards_local_data: bool) -> None:
    """Start a server in the background; return when the server accepts clients."""
    options = ["--discard-local-data"] if discards_local_data else []
    _start(_read_and_tell(config, starts=True), [*_log_options(log_level, log_format), *options])


def _start(setup: Setup, options: list[str]) -> None:
    process = control.start(
        setup.config,
        setup.config_path,
        setup.environment.log_path(setup.config),
        options,
        _START_TIMEOUT_S,
    )
    click.echo(f"Starting zookeeper ... STARTED (process {process.pid})")


def _log_options(log_level: str, log_format: str) -> list[str]:
    return ["--log-level", log_level, "--log-format", log_format]


@server.command("stop")
@_config_argument
@reporting_errors
def stop(config: Path | None) -> None:
    """Stop the server; return when its process has ended."""
    _stop(_read_and_tell(config).config)


def _stop(settings: Config) -> None:
    pid = control.stop(settings, _STOP_TIMEOUT_S)
    if pid is None:
        click.echo(f"Stopping zookeeper ... no server runs on {settings.data_dir}")
    else:
        click.echo(f"Stopping zookeeper ... STOPPED (process {pid})")


@server.command("restart")
@_config_argument
@_level_option
@_format_option
@reporting_errors
def restart(config: Path | None, log_level: str, log_format: str) -> None:
    """Stop the server if it runs, then start it."""
    setup = _read_and_tell(config, starts=True)
    _stop(setup.config)
    _start(setup, _log_options(log_level, log_format))


@server.command("status")
@_config_argument
@reporting_errors
def status(config: Path | None) -> None:
    """Print the mode of the server; exit with status 1 if the server does not reply."""
    settings = _read_and_tell(config).config
    address, port = control.client_address(settings)
    click.echo(f"Client port found: {port}. Client address: {address}.")
    try:
        answer = control.ask(settings, "srvr")
    except OSError as error:
        fail(f"Error contacting service. It is probably not running. ({error})")
    shown = [line for line in answer.splitlines() if line.startswith(_SHOWN)]
    if not shown:
        fail(
            f"The server did not reply with its mode, but with: {answer.strip() or '(nothing)'} Add"
            " srvr to 4lw.commands.whitelist in zoo.cfg."
        )
    click.echo("\n".join(shown))


@server.command("version")
def version() -> None:
    """Print the version of zoolet."""
    click.echo(f"zoolet, version {DESCRIPTION}")


@server.command("print-cmd")
@_config_argument
@_level_option
@_format_option
@reporting_errors
def print_cmd(config: Path | None, log_level: str, log_format: str) -> None:
    """Print the command line of start, for a service manager."""
    setup = _read_and_tell(config)
    options = _log_options(log_level, log_format)
    options += ["--log-file", str(setup.environment.log_path(setup.config))]
    import shlex  # noqa: PLC0415 -- only this command needs it

    click.echo(shlex.join(control.foreground_command(setup.config_path, options)))


def configured_directories(config_directory: Path | None) -> tuple[Path, Path | None]:
    """Return the dataDir and the dataLogDir of zoo.cfg, for scripts such as ``zkCleanup.sh``.

    Raises StorageError if zoo.cfg cannot be read; its message says that the user can name the
    directories instead.
    """
    environment = Environment.read(os.environ).with_config_directory(config_directory)
    try:
        config = read_config(environment.find_config(None), environment.flags.properties)
    except (ConfigError, ServerError) as error:
        raise StorageError(f"{error} Or name the directories as arguments.") from error
    return config.data_dir, config.data_log_dir
