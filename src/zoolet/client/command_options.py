"""The command line options of a connection to ZooKeeper, for all commands that connect.

Invariant: no message shows a credential. This module imports click.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from zoolet.client.connecting.options import CONNECT_TIMEOUT_MS, Credential
from zoolet.client.connecting.settings import (
    AUTH_VARIABLE,
    TIMEOUT_LIMIT_MS,
    TLS_CA_VARIABLE,
    TLS_CERT_VARIABLE,
    TLS_KEY_VARIABLE,
    ConnectionSettings,
    SettingsError,
    parse_credential,
    tls_files,
)
from zoolet.console.terminal import printable

C = TypeVar("C", bound=Callable[..., Any])


class Logins(click.ParamType[Any]):
    """Logins; the environment variable has one in each line. Errors never show a login."""

    name = "SCHEME:SECRET"
    envvar_list_splitter = "\n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the login as a Credential."""
        try:
            return parse_credential(value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)


FILE: Final = click.Path(path_type=Path)

_TLS_OPTIONS: Final = (
    click.option(
        "--tls-ca",
        type=FILE,
        envvar=TLS_CA_VARIABLE,
        show_envvar=True,
        help="Use TLS, and accept server certificates that this CA has signed (PEM file).",
    ),
    click.option(
        "--tls-cert",
        type=FILE,
        envvar=TLS_CERT_VARIABLE,
        show_envvar=True,
        help="Certificate of the client (PEM file).",
    ),
    click.option(
        "--tls-key",
        type=FILE,
        envvar=TLS_KEY_VARIABLE,
        show_envvar=True,
        help="Private key of the client (PEM file). Without it, the key is in --tls-cert.",
    ),
)

_OPTIONS: Final = (
    click.option(
        "--connect-timeout-ms",
        type=click.IntRange(1, TIMEOUT_LIMIT_MS),
        default=CONNECT_TIMEOUT_MS,
        show_default=True,
        help="Time limit for connecting to a server.",
    ),
    click.option(
        "--auth",
        multiple=True,
        type=Logins(),
        envvar=AUTH_VARIABLE,
        show_envvar=True,
        help="Login, like digest:user:password, sasl:user:password for SASL, or kerberos: for"
        " Kerberos. May be repeated. ps shows this option, but not the variable, which contains one"
        " login in each line.",
    ),
    *_TLS_OPTIONS,
)


CONNECTION_VALUES: Final = ("connect_timeout_ms", "auth", "tls_ca", "tls_cert", "tls_key")
"""The names with which a command gets the values of these options."""


def connection_options(command: C) -> C:
    """Add the options of a connection to a command; it passes their values to ``settings_of``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def tls_options(command: C) -> C:
    """Add the options of TLS to a command; it passes their values to ``tls_files``."""
    for option in reversed(_TLS_OPTIONS):
        command = option(command)
    return command


def settings_of(
    hosts: str,
    *,
    connect_timeout_ms: int,
    auth: tuple[Credential, ...],
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> ConnectionSettings:
    """Return the settings with the values of the options.

    Raises:
        click.UsageError: the values do not fit together.
    """
    try:
        return ConnectionSettings(
            hosts,
            connect_timeout_ms=connect_timeout_ms,
            auth=auth,
            tls=tls_files(tls_ca, tls_cert, tls_key),
        )
    except SettingsError as error:
        raise click.UsageError(printable(str(error))) from None
