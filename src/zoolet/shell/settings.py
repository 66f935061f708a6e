"""The settings of the shell, from its command line and environment variables."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoolet.client.connecting.jaas_login import LoginFileError
from zoolet.client.connecting.options import DEFAULT_HOSTS
from zoolet.client.connecting.settings import (
    AUTH_VARIABLE,
    SERVER_VARIABLE,
    TLS_CA_VARIABLE,
    TLS_CERT_VARIABLE,
    TLS_KEY_VARIABLE,
    ConnectionSettings,
    SettingsError,
    parse_credential,
    tls_files,
)
from zoolet.shell.java_flags import with_login_of_java

_DEFAULT_TIMEOUT_MS = 30_000
_HISTORY_NAME = ".zoolet_history"

_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
"""The characters that look like the "-" of an option."""

FLAGS = frozenset({"-h", "--help", "-r", "-waitforconnection", "--read-only", "--no-pager"})
"""The options that take no value."""

_SINGLE_DASH = frozenset({"-server", "-timeout", "-r", "-waitforconnection", "-h"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the shell.

    Attributes:
        connection: the servers, the timeouts, TLS and the login.
        refuses_changes: whether the shell refuses commands that change anything (--read-only).
        is_json: whether output is JSON, one value per line.
        has_pager: whether long output to a terminal is shown page by page.
        history_path: the file that stores the typed lines.
        editor: the command line that ``edit`` starts.
        command: the words of the command to run; if empty, the shell reads lines.
    """

    connection: ConnectionSettings
    refuses_changes: bool
    is_json: bool
    has_pager: bool
    history_path: Path
    editor: str
    command: tuple[str, ...]


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings of a command line; exit with a message if it is invalid."""
    parser = _parser(environment)
    found = parser.parse_args(_with_ascii_dashes(argv))
    if found.timeout <= 0:
        parser.error(f"-timeout {found.timeout}: the timeout must be at least 1 ms")
    try:
        connection = ConnectionSettings(
            found.server,
            session_timeout_ms=found.timeout,
            connect_timeout_ms=found.timeout,
            auth=with_login_of_java(
                tuple(map(parse_credential, found.auth or _logins(environment))), environment
            ),
            tls=tls_files(found.tls_ca, found.tls_cert, found.tls_key),
            takes_read_only_server=found.r,
        )
    except (SettingsError, LoginFileError) as error:
        parser.error(str(error))
    home = Path(environment.get("HOME", "."))
    return Settings(
        connection=connection,
        refuses_changes=found.read_only,
        is_json=found.output == "json",
        has_pager=not found.no_pager,
        history_path=found.history or home / _HISTORY_NAME,
        editor=environment.get("VISUAL") or environment.get("EDITOR") or "vi",
        command=tuple(found.command),
    )


def _logins(environment: Mapping[str, str]) -> list[str]:
    """Return the logins in the environment variable, which has one login per line."""
    return environment.get(AUTH_VARIABLE, "").splitlines()


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkCli.sh",
        description="Run commands on a ZooKeeper server. Without a command argument, the shell"
        " reads commands from the terminal or from standard input. The command help lists all"
        " commands.",
        allow_abbrev=False,
    )
    _add_server(parser, environment)
    parser.add_argument(
        "--read-only", action="store_true", help="refuse the commands that change anything"
    )
    parser.add_argument(
        "--output",
        choices=("text", "json"),
        default="text",
        help="the output format; json: one value per line (default: %(default)s)",
    )
    parser.add_argument(
        "--no-pager", action="store_true", help="do not stop at each page of long output"
    )
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help=f"the file that stores the typed lines (default: ~/{_HISTORY_NAME})",
    )
    _add_identity(parser, environment)
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="a command of the shell and its arguments"
    )
    return parser


def _add_server(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Add the options of the connection; their names are Apache ZooKeeper's."""
    parser.add_argument(
        "-server",
        "--server",
        default=environment.get(SERVER_VARIABLE) or DEFAULT_HOSTS,
        metavar="HOST:PORT[,HOST:PORT...][/PATH]",
        help="the server or the members of an ensemble; PATH is the znode that becomes the root"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "-timeout",
        "--timeout",
        type=int,
        default=_DEFAULT_TIMEOUT_MS,
        metavar="MS",
        help="the session timeout and the time to wait for a server (default: %(default)s)",
    )
    parser.add_argument(
        "-r",
        action="store_true",
        help="connect to a read-only server if no other server is available",
    )
    parser.add_argument(
        "-waitforconnection",
        action="store_true",
        help="has no effect, because the shell always waits for a connection; accepted for"
        " compatibility with Apache ZooKeeper",
    )


def _add_identity(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Add the options for the login and for TLS."""
    parser.add_argument(
        "--auth",
        action="append",
        metavar="SCHEME:SECRET",
        help="log in, as in digest:user:password, sasl:user:password for SASL, or kerberos: for"
        f" Kerberos; may be repeated (default: the logins in the variable {AUTH_VARIABLE}, one per"
        " line; ps hides it)",
    )
    for option, variable, what in (
        (
            "--tls-ca",
            TLS_CA_VARIABLE,
            "use TLS, and trust servers with a certificate that this CA signed (PEM)",
        ),
        ("--tls-cert", TLS_CERT_VARIABLE, "send this client certificate (PEM)"),
        (
            "--tls-key",
            TLS_KEY_VARIABLE,
            "the private key of --tls-cert (default: in the same file)",
        ),
    ):
        default = environment.get(variable)
        parser.add_argument(
            option,
            type=Path,
            default=Path(default) if default else None,
            metavar="FILE",
            help=f"{what}; variable: {variable}",
        )


def _with_ascii_dashes(argv: Sequence[str]) -> list[str]:
    """Return the arguments; in the shell's options, other kinds of dashes become "-".

    Web pages and word processors show "-server" with an en dash, and "--server" with an em dash or
    an en dash. The command and its arguments are not changed.
    """
    words = list(argv)
    position = 0
    while position < len(words) and words[position].startswith(tuple(_DASHES)):
        name, equals, value = words[position].partition("=")
        plain = name.lstrip(_DASHES)
        if not name.isascii() and plain:
            name = f"-{plain}" if f"-{plain}" in _SINGLE_DASH else f"--{plain}"
            words[position] = f"{name}{equals}{value}"
        position += 1 if equals or name in FLAGS else 2
    return words
