"""``zoolet web`` and ``zoolet web-user``: the command lines, and the process around the page."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import uvicorn
from starlette.applications import Starlette

from zoolet.client.command_options import FILE
from zoolet.client.connecting.settings import (
    TLS_CA_VARIABLE,
    TLS_CERT_VARIABLE,
    TLS_KEY_VARIABLE,
    SettingsError,
    tls_files,
)
from zoolet.console.reporting import reporting
from zoolet.jobs import InvalidJobError, parse_store_urls
from zoolet.passwords.asking import ask_password, check_name
from zoolet.passwords.hashes import hash_of
from zoolet.process.descriptors import raise_limit
from zoolet.web.access.users import ROLES, UsersError
from zoolet.web.application import application
from zoolet.web.certificates import CertificateError, PageCertificate
from zoolet.web.listening import MOST_CONNECTIONS, BrowserProtocol, Listener, listening
from zoolet.web.settings import (
    DEFAULT_LISTEN,
    DEFAULT_USER_HEADER,
    Cluster,
    WebSettings,
    WebSettingsError,
    bracketed,
    parse_cluster,
    parse_colour,
    parse_listen,
    parse_network,
    parse_past,
)

_GRACE_S: Final = 5


@click.command("web")
@click.option(
    "--server",
    "servers",
    multiple=True,
    required=True,
    metavar="NAME=HOSTS",
    help="A ZooKeeper to show, like prod=zk1:2181,zk2:2181/app. May be repeated.",
)
@click.option(
    "--colour",
    "colours",
    multiple=True,
    metavar="NAME=COLOUR",
    help="Colour of a cluster on each page: grey, red, orange, green, blue or purple. May be"
    " repeated.",
)
@click.option(
    "--listen", default=DEFAULT_LISTEN, show_default=True, help="Address and port of the page."
)
@click.option(
    "--host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name by which browsers reach the page, besides the address of --listen. May be"
    " repeated.",
)
@click.option("--base-path", default="", help="Path before each URL behind a proxy, like /zk.")
@click.option(
    "--allow-changes",
    is_flag=True,
    help="Users with the role editor may change znodes. Without it, nobody may.",
)
@click.option(
    "--users-file", type=FILE, help="File of users and roles; zoolet web-user prints its lines."
)
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of a proxy that names the user in a header. May be repeated.",
)
@click.option(
    "--user-header",
    default=DEFAULT_USER_HEADER,
    show_default=True,
    help="The header in which a trusted proxy names the user.",
)
@click.option(
    "--archive",
    "archives",
    multiple=True,
    metavar="NAME=URL",
    help="The archive of a cluster, for changes before the page was opened. May be repeated.",
)
@click.option(
    "--data-dir",
    "directories",
    multiple=True,
    metavar="NAME=DIR",
    help="The data directory of a cluster, for the same. May be repeated.",
)
@click.option(
    "--archive-key",
    "archive_keys",
    multiple=True,
    metavar="NAME=FILE",
    help="The file with the key of an encrypted archive. May be repeated.",
)
@click.option(
    "--data-log-dir",
    "log_directories",
    multiple=True,
    metavar="NAME=DIR",
    help="The dataLogDir, if it is not the data directory. May be repeated.",
)
@click.option("--https-cert", type=FILE, help="Certificate of the page (PEM file).")
@click.option("--https-key", type=FILE, help="Private key of the page (PEM file).")
@click.option(
    "--tls-ca",
    type=FILE,
    envvar=TLS_CA_VARIABLE,
    show_envvar=True,
    help="Use TLS to ZooKeeper, and accept certificates that this CA has signed (PEM file).",
)
@click.option(
    "--tls-cert",
    type=FILE,
    envvar=TLS_CERT_VARIABLE,
    show_envvar=True,
    help="Certificate of the page as a client of ZooKeeper (PEM file).",
)
@click.option(
    "--tls-key",
    type=FILE,
    envvar=TLS_KEY_VARIABLE,
    show_envvar=True,
    help="Private key for --tls-cert (PEM file).",
)
@click.option(
    "--results",
    "results",
    multiple=True,
    metavar="NAME=URL",
    help="URL of a result store of queues, whose database has the history of their jobs;"
    " NAME=@FILE reads it from a file. May be repeated.",
)
@reporting(UsersError, CertificateError)
def web(
    servers: tuple[str, ...],
    colours: tuple[str, ...],
    listen: str,
    names: tuple[str, ...],
    base_path: str,
    allow_changes: bool,
    users_file: Path | None,
    proxies: tuple[str, ...],
    user_header: str,
    archives: tuple[str, ...],
    directories: tuple[str, ...],
    archive_keys: tuple[str, ...],
    log_directories: tuple[str, ...],
    https_cert: Path | None,
    https_key: Path | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    results: tuple[str, ...],
) -> None:
    """Show ZooKeepers in a browser: the tree, data and ACLs of znodes.

    The page works with zoolet and with Apache ZooKeeper. Without --users-file, it listens only on
    this machine, and everybody on it may look.
    """
    try:
        host, port = parse_listen(listen)
        clusters = _clusters(servers, colours)
        cluster_names = frozenset(cluster.name for cluster in clusters)
        settings = WebSettings(
            clusters=clusters,
            past=parse_past(archives, directories, archive_keys, log_directories, cluster_names),
            host=host,
            port=port,
            base_path=base_path,
            allows_changes=allow_changes,
            users_file=users_file,
            trusted_proxies=tuple(map(parse_network, proxies)),
            user_header=user_header,
            names=frozenset(names),
            has_tls=_has_tls(https_cert, https_key),
            zookeeper_tls=tls_files(tls_ca, tls_cert, tls_key),
            result_stores=parse_store_urls(results),
        )
    except (WebSettingsError, SettingsError, InvalidJobError) as error:
        raise click.UsageError(str(error)) from None
    _log_to_stderr()
    certificate = None
    if https_cert is not None and https_key is not None:
        certificate = PageCertificate(https_cert, https_key)
    run(settings, certificate)


def _clusters(servers: tuple[str, ...], colours: tuple[str, ...]) -> tuple[Cluster, ...]:
    """Return the clusters with their colours; raises WebSettingsError."""
    chosen = dict(map(parse_colour, colours))
    clusters = [parse_cluster(text) for text in servers]
    unknown = chosen.keys() - {cluster.name for cluster in clusters}
    if unknown:
        raise WebSettingsError(f"--colour: there is no --server {min(unknown)}=HOSTS")
    return tuple(
        replace(cluster, colour=chosen.get(cluster.name, cluster.colour)) for cluster in clusters
    )


def _has_tls(cert: Path | None, key: Path | None) -> bool:
    if (cert is None) != (key is None):
        raise WebSettingsError("--https-cert and --https-key need each other")
    return cert is not None


@click.command("web-user")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(list(ROLES)),
    default="viewer",
    help="What the user may do; viewer: see everything; editor: also change znodes.",
)
def web_user(name: str, role: str) -> None:
    """Print a line for the file of users of zoolet web, with a hash of the user's password.

    The password is asked for. If standard input is no terminal, its first line is the password.
    """
    check_name(name)
    click.echo(f"{role} password {name} {hash_of(ask_password())}")


def run(settings: WebSettings, certificate: PageCertificate | None = None) -> None:
    """Serve the page until SIGINT or SIGTERM; print its URL when it accepts connections.

    Raises:
        UsersError: the file of users cannot be used.
        OSError: the address cannot be used.
    """
    raise_limit()
    with contextlib.closing(_listening(settings)) as listener:
        settings = replace(settings, port=listener.getsockname()[1])
        app = application(settings, lambda: click.echo(f"zoolet web: {settings.url}"))
        server = _Server(_config(app, certificate), app.state.site.live.streams.stop)
        asyncio.run(server.serve([listener]))


def _config(app: Starlette, certificate: PageCertificate | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=BrowserProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
    )
    config.load()
    if certificate is not None:
        config.ssl = certificate.context
    return config


class _Server(uvicorn.Server):
    """Ends at SIGINT and SIGTERM with the exit status 0; ``on_stop`` ends the streams."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams first, because open responses delay the end."""
        self._on_stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while the server runs; they do not end the process afterwards."""
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listening(settings: WebSettings) -> Listener:
    try:
        return listening(settings.host, settings.port)
    except OSError as error:
        where = f"{bracketed(settings.host)}:{settings.port}"
        raise OSError(error.errno, f"--listen {where}: {error.strerror}") from None


def _log_to_stderr() -> None:
    """Write the log to standard error; a record of the audit is a line of JSON without a prefix."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    of_uvicorn = logging.getLogger("uvicorn.error")
    of_uvicorn.setLevel(logging.WARNING)
    of_uvicorn.addFilter(_is_no_cancellation)
    audit = logging.getLogger("zoolet.web.access.audit")
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(logging.Formatter("%(message)s"))
    audit.addHandler(lines)
    audit.propagate = False


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Return False for the traceback of a request that the end of the process has cancelled."""
    return record.exc_info is None or record.exc_info[0] is not asyncio.CancelledError
