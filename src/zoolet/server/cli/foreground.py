"""``zkServer.sh start-foreground``: serve in this process until a signal ends it.

This module defines what the command reads, logs and reports. It must not import click, which would
stay in the memory of the server (docs/decisions/0116-server-without-openssl.md).
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from zoolet.console.reporting import fail, reporting, text_of
from zoolet.model.build import DESCRIPTION
from zoolet.process import unused_modules
from zoolet.process.service_manager import ServiceManager
from zoolet.server.cli import control
from zoolet.server.cli.environment import Environment
from zoolet.server.common.errors import ConfigError, ServerError
from zoolet.server.logs.logs import LEVELS, LogFormat, set_up
from zoolet.server.zoo_cfg.config import NO_CLIENTS, Config
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.storage.errors import DirectoryError, StorageError

_FAILED = 1
_SIGNALLED = 128
"""Java adds the number of the signal that ends it, as a shell does."""

log = logging.getLogger(__name__)

reporting_errors = reporting(ConfigError, ServerError, StorageError)
"""The decorator for the commands of the server: one line for each expected error."""


class Setup(NamedTuple):
    """The environment and the configuration that a command uses."""

    environment: Environment
    config_path: Path
    config: Config

    @classmethod
    def read(
        cls, path: Path | None, config_directory: Path | None = None, *, starts: bool = False
    ) -> "Setup":
        """Read the zoo.cfg that the argument, the options and the environment variables select.

        Only a server that starts needs the secrets that zoo.cfg refers to. Raises ConfigError and
        ServerError.
        """
        environment = Environment.read(os.environ).with_config_directory(config_directory)
        found = environment.find_config(path).absolute()
        variables = os.environ if starts else None
        config = read_config(found, environment.flags.properties, variables)
        return cls(environment, found, config)

    @property
    def warnings(self) -> list[str]:
        """A line for each part of the environment that has no effect in zoolet."""
        return self.environment.warnings(self.config_path)


class Options(NamedTuple):
    """The options of ``start-foreground``; commands.py describes them for users.

    Attributes:
        config: the path of zoo.cfg in the arguments.
        log_level: one of ``LEVELS``.
        log_format: one of ``LOG_FORMATS``.
        discards_local_data: whether an observer gets all data from the leader.
        log_file: the file of the log; None means standard error.
        has_apache_status: whether the exit status is Apache ZooKeeper's.
        ready_fd: the descriptor to which the server reports that it listens.
    """

    config: Path | None = None
    log_level: str = "info"
    log_format: str = LogFormat.TEXT.value
    discards_local_data: bool = False
    log_file: Path | None = None
    has_apache_status: bool = False
    ready_fd: int | None = None


LOG_FORMATS = tuple(member.value for member in LogFormat)
"""The values of ``--log-format``."""


def simple_options(arguments: list[str]) -> Options | None:
    """Return the options in arguments of the usual form; None if click must look at them.

    click reports every mistake and knows other forms, for example ``--log-level=info``.
    """
    found = Options()
    left = iter(arguments)
    for argument in left:
        if argument == "--apache-exit-status":
            found = found._replace(has_apache_status=True)
        elif argument == "--discard-local-data":
            found = found._replace(discards_local_data=True)
        elif argument.startswith("--"):
            changed = _with_value(found, argument, next(left, ""))
            if changed is None:
                return None
            found = changed
        elif argument == "" or argument.startswith("-") or found.config is not None:
            return None
        else:
            found = found._replace(config=Path(argument))
    return found


def _with_value(options: Options, name: str, value: str) -> Options | None:
    """Return the options with the value of one more; None if click must look at it."""
    if name == "--log-level" and value in LEVELS:
        return options._replace(log_level=value)
    if name == "--log-format" and value in LOG_FORMATS:
        return options._replace(log_format=value)
    if name == "--ready-fd" and value.isascii() and value.isdigit():
        return options._replace(ready_fd=int(value))
    if name == "--log-file" and value and not value.startswith("-") and not _is_unreadable(value):
        return options._replace(log_file=Path(value))
    return None


def _is_unreadable(path: str) -> bool:
    """Return whether a path exists and cannot be read; as click does, False for other problems."""
    return os.path.exists(path) and not os.access(path, os.R_OK)  # noqa: PTH110 -- never raises


@reporting_errors
def start_foreground(
    options: Options, service_manager: ServiceManager, config_directory: Path | None = None
) -> None:
    """Serve until SIGTERM or Ctrl-C; closes ``service_manager``.

    ``config_directory`` is the directory of zoo.cfg; None means that of the environment. Ends the
    process with a message if the server cannot start or cannot continue.
    """
    report = control.ReadinessReport(options.ready_fd)
    log_format = LogFormat(options.log_format)
    try:
        reopen = set_up(options.log_level, log_format, options.log_file)
        setup = Setup.read(options.config, config_directory, starts=True)
        stopped_by = _serve(
            setup,
            report,
            service_manager,
            reopen,
            discards_local_data=options.discards_local_data,
        )
    except (ConfigError, ServerError, StorageError, OSError) as error:
        message = text_of(error)
        report.failed(message)
        service_manager.report_failed(message)
        status = _apache_status(error) if options.has_apache_status else _FAILED
        if log_format is LogFormat.TEXT:
            fail(f"zoolet: {message}", status)
        log.error("%s", message)  # noqa: TRY400 -- the message says what to do
        sys.exit(status)
    finally:
        service_manager.close()
    if options.has_apache_status:
        sys.exit(_SIGNALLED + stopped_by)


def _apache_status(error: Exception) -> int:
    """Return the exit status of Apache ZooKeeper for an error.

    Source: ``ExitCode`` and ``QuorumPeerMain.main`` of Apache ZooKeeper 3.9.5.
    """
    if isinstance(error, ConfigError):
        return 2
    return 3 if isinstance(error, DirectoryError) else _FAILED


def _serve(
    setup: Setup,
    report: control.ReadinessReport,
    service_manager: ServiceManager,
    reopen: Callable[[], None],
    *,
    discards_local_data: bool,
) -> signal.Signals:
    config, pid_path = setup.config, setup.environment.pid_path
    if not config.may_use_tls:
        unused_modules.leave_out()
    # Imported here because only this command runs a server.
    from zoolet.server.cli.running import run  # noqa: PLC0415
    from zoolet.server.operator.four_letter_words import unknown_words  # noqa: PLC0415

    log.info(
        "zoolet %s starts as process %d. Using config: %s; %s",
        DESCRIPTION,
        os.getpid(),
        setup.config_path,
        _configured(config),
    )
    for warning in setup.warnings:
        log.warning("%s", warning)
    for word in unknown_words(config.four_letter_words):
        log.warning("4lw.commands.whitelist: %s is not a four-letter word of zoolet", word)
    pid_file = control.PidFile(pid_path) if pid_path is not None else None

    def ready() -> None:
        if pid_file is not None:
            pid_file.write()
        report.ready()

    try:
        return run(
            config,
            service_manager=service_manager,
            on_ready=ready,
            on_hangup=reopen,
            discards_local_data=discards_local_data,
        )
    finally:
        if pid_file is not None:
            pid_file.remove()


def _configured(config: Config) -> str:
    """Return one line with the directories and the addresses of a configuration."""
    listeners = []
    if config.client_port != NO_CLIENTS:
        listeners.append(("clients", config.client_address, config.client_port))
    if config.tls is not None and config.tls.listener is not None:
        listeners.append(("TLS clients", *config.tls.listener))
    if config.admin is not None:
        listeners.append(("admin", *config.admin.listener))
    if config.metrics is not None:
        listeners.append(("metrics", *config.metrics))
    addresses = (f"{what} {address or '*'}:{port}" for what, address, port in listeners)
    directories = f"dataDir {config.data_dir.absolute()}"
    if config.data_log_dir is not None:
        directories += f", dataLogDir {config.data_log_dir.absolute()}"
    return f"{directories}; addresses: {', '.join(addresses)}"
