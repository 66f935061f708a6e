"""``zoolet server``, which is ``zkServer.sh``: start, stop and look at a server.

Owns how its arguments, messages and exit statuses look; what the commands do is in ``control`` and
``service``.
"""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import click

from zoolet.server import control
from zoolet.server.config import Config, ConfigError, read_config
from zoolet.server.errors import ServerError
from zoolet.storage.errors import StorageError

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_CONFIG_PATHS = (Path("conf/zoo.cfg"), Path("/etc/zookeeper/conf/zoo.cfg"))

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)


def _reporting(command: Callable[P, T]) -> Callable[P, T]:
    """Turn what a server cannot do into a message and exit status 1."""

    @wraps(command)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (ConfigError, ServerError, StorageError) as error:
            _fail(f"zoolet: {error}")

    return reporting


def _find_config(path: Path | None) -> Path:
    if path is not None:
        return path
    for candidate in DEFAULT_CONFIG_PATHS:
        if candidate.exists():
            return candidate
    raise ConfigError(
        "no zoo.cfg was named, and there is none at"
        f" {' or '.join(str(candidate) for candidate in DEFAULT_CONFIG_PATHS)}: name one."
    )


def _read(path: Path | None) -> tuple[Path, Config]:
    found = _find_config(path).absolute()
    click.echo(f"Using config: {found}", err=True)
    return found, read_config(found)


@click.group("server", context_settings={"help_option_names": ["-h", "--help"]})
def server() -> None:
    """Start, stop and look at a server; each command takes the path of a zoo.cfg."""


_config_argument = click.argument(
    "config", required=False, type=click.Path(dir_okay=False, path_type=Path)
)


@server.command("start-foreground")
@_config_argument
@_reporting
def start_foreground(config: Path | None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    _, settings = _read(config)
    # Loaded here, since the other commands ask a server that runs already.
    from zoolet.server.fourletter import unknown_words  # noqa: PLC0415
    from zoolet.server.service import run  # noqa: PLC0415

    for word in unknown_words(settings.four_letter_words):
        logging.getLogger(__name__).warning(
            "4lw.commands.whitelist: %s is not answered here and is passed over", word
        )
    run(settings)


@server.command("start")
@_config_argument
@_reporting
def start(config: Path | None) -> None:
    """Start a server in the background; return when its port answers."""
    path, settings = _read(config)
    _start(path, settings)


def _start(path: Path, settings: Config) -> None:
    process = control.start(settings, path, _START_TIMEOUT_S)
    click.echo(f"Starting zookeeper ... STARTED (process {process.pid})")


@server.command("stop")
@_config_argument
@_reporting
def stop(config: Path | None) -> None:
    """Stop the server; return when it has ended."""
    _stop(_read(config)[1])


def _stop(settings: Config) -> None:
    pid = control.stop(settings, _STOP_TIMEOUT_S)
    if pid is None:
        click.echo(f"Stopping zookeeper ... no server runs on {settings.data_dir}")
    else:
        click.echo(f"Stopping zookeeper ... STOPPED (process {pid})")


@server.command("restart")
@_config_argument
@_reporting
def restart(config: Path | None) -> None:
    """Stop the server where one runs, and start it."""
    path, settings = _read(config)
    _stop(settings)
    _start(path, settings)


@server.command("status")
@_config_argument
@_reporting
def status(config: Path | None) -> None:
    """Say whether the server answers, and in which mode; 1 where it does not."""
    _, settings = _read(config)
    address = control.connect_address(settings)
    click.echo(f"Client port found: {settings.client_port}. Client address: {address}.")
    try:
        answer = control.ask(settings, "srvr")
    except OSError as error:
        _fail(f"Error contacting service. It is probably not running. ({error})")
    modes = [line for line in answer.splitlines() if line.startswith("Mode: ")]
    if not modes:
        _fail(
            f"The server answers, but not what it is: {answer.strip() or '(nothing)'} Add srvr to"
            " 4lw.commands.whitelist in zoo.cfg."
        )
    click.echo(modes[0])
