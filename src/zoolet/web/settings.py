"""The settings of ``zoolet web``, as one frozen value, and the rules that they must follow.

Invariant: settings with which anybody on the network could read, or anybody without a login could
change something, do not exist. This module reads no file and no environment variable.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from zoolet.client.connecting.servers import parse_servers
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import AddressError

COLOURS: Final = ("grey", "red", "orange", "green", "blue", "purple")
"""The colours that a cluster can have; the first is the default."""

DEFAULT_LISTEN: Final = "127.0.0.1:8090"
DEFAULT_USER_HEADER: Final = "X-Forwarded-User"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BASE_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_LISTEN: Final = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^:\[\]/\s]+)):(?P<port>\d{1,5})"
)
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class WebSettingsError(ValueError):
    """Settings are invalid or unsafe; the message says which option to change."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A ZooKeeper that the page shows: its name, its servers and its colour."""

    name: str
    hosts: str
    colour: str = COLOURS[0]


@dataclass(frozen=True, slots=True)
class PastSource:
    """Where the past of a cluster is.

    Attributes:
        place: the folder or the URL of an archive, or a data directory.
        is_archive: whether it is an archive.
        key_file: the file with the key of an encrypted archive; None if it is not encrypted.
        logs: the dataLogDir of a data directory, if it is another directory.
    """

    place: str
    is_archive: bool
    key_file: Path | None = None
    logs: Path | None = None


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The settings of the page.

    Attributes:
        clusters: the clusters, in the order of the page.
        host: the address to listen on.
        port: the port to listen on; 0 for a free one.
        base_path: what each URL begins with, for example ``/zk``; "" for the root.
        allows_changes: whether editors may change something.
        users_file: the file of users; None if nobody has a password or a role.
        trusted_proxies: the addresses of proxies that may name the user of a request.
        user_header: the header in which they name the user.
        names: the names that browsers may use for the page, in the header Host.
        has_tls: whether the page itself speaks TLS.
        zookeeper_tls: the files for TLS to ZooKeeper; None for no encryption.
        result_stores: the URLs of result stores by name, for the history of queues.
        past: where the past of clusters is, by their names.
        connect_timeout_ms: the longest wait for a session of ZooKeeper.
    """

    clusters: tuple[Cluster, ...]
    host: str = "127.0.0.1"
    port: int = 8090
    base_path: str = ""
    allows_changes: bool = False
    users_file: Path | None = None
    trusted_proxies: tuple[Network, ...] = ()
    user_header: str = DEFAULT_USER_HEADER
    names: frozenset[str] = frozenset()
    has_tls: bool = False
    zookeeper_tls: TlsFiles | None = None
    result_stores: Mapping[str, str] = field(default_factory=dict, repr=False)
    past: Mapping[str, PastSource] = field(default_factory=dict)
    connect_timeout_ms: int = 10_000

    def __post_init__(self) -> None:
        if not self.clusters:
            raise WebSettingsError("give at least one cluster: --server NAME=HOST:PORT")
        names = [cluster.name for cluster in self.clusters]
        if len(set(names)) < len(names):
            raise WebSettingsError(
                "two clusters have the same name: change one --server NAME=HOSTS"
            )
        if self.base_path and not _BASE_PATH.fullmatch(self.base_path):
            raise WebSettingsError(
                "--base-path begins with / and does not end with /, and has only letters, digits"
                " and ._~-, as in /tools/zk"
            )
        if not self.needs_login:
            if not self.is_loopback:
                raise WebSettingsError(
                    f"--listen {self.host}: without a login, the page listens only on 127.0.0.1 or"
                    " [::1]. Add --users-file FILE or --trusted-proxy ADDRESS"
                )
            if self.allows_changes:
                raise WebSettingsError(
                    "--allow-changes needs a login, because only an editor may change something."
                    " Add --users-file FILE"
                )
        if self.allows_changes and self.users_file is None:
            raise WebSettingsError(
                "--allow-changes needs --users-file FILE, which says who is an editor"
            )
        if self.is_any and not self.names:
            raise WebSettingsError(
                f"--listen {self.host} needs --host NAME: the name by which browsers reach the page"
            )

    @property
    def needs_login(self) -> bool:
        """Whether the page shows something only to users that it knows."""
        return self.users_file is not None or bool(self.trusted_proxies)

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        return self.host == "localhost" or (
            not _is_name(self.host) and ipaddress.ip_address(self.host).is_loopback
        )

    @property
    def is_any(self) -> bool:
        """Whether the page listens on all addresses of the machine."""
        return not _is_name(self.host) and ipaddress.ip_address(self.host).is_unspecified

    @property
    def accepted_names(self) -> frozenset[str]:
        """The names in the header Host that the page accepts, without ports, in lower case."""
        own = set() if self.is_any else {bracketed(self.host).lower()}
        loopback = _LOOPBACK_NAMES if self.is_loopback else frozenset[str]()
        return frozenset({name.lower() for name in self.names} | own | loopback)

    @property
    def url(self) -> str:
        """The URL of the page, with the port of the settings."""
        scheme = "https" if self.has_tls else "http"
        return f"{scheme}://{bracketed(self.host)}:{self.port}{self.base_path}/"

    def cluster(self, name: str) -> Cluster | None:
        """Return the cluster of this name; None if there is none."""
        return next((cluster for cluster in self.clusters if cluster.name == name), None)


def parse_cluster(text: str) -> Cluster:
    """Return the cluster of ``NAME=HOST:PORT[,HOST:PORT...][/PATH]``.

    Raises:
        WebSettingsError: the text does not have this form.
    """
    name, equals, hosts = text.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise WebSettingsError(
            "a cluster has the form NAME=HOST:PORT[,HOST:PORT...][/PATH]; a name has up to 64"
            " letters, digits and ._-"
        )
    try:
        parse_servers(hosts)
    except AddressError as error:
        raise WebSettingsError(f"{name}: {error}") from None
    return Cluster(name, hosts)


def parse_colour(text: str) -> tuple[str, str]:
    """Return the name of a cluster and its colour, from ``NAME=COLOUR``.

    Raises:
        WebSettingsError: the text does not have this form.
    """
    name, _, colour = text.partition("=")
    if colour not in COLOURS:
        raise WebSettingsError(f"a colour has the form NAME=COLOUR; COLOUR is {', '.join(COLOURS)}")
    return name, colour


def parse_listen(text: str) -> tuple[str, int]:
    """Return the address and the port of ``ADDRESS:PORT``.

    Raises:
        WebSettingsError: the text does not have this form.
    """
    found = _LISTEN.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise WebSettingsError("--listen has the form ADDRESS:PORT, as in 127.0.0.1:8090")
    host = found["v6"] or found["host"]
    if found["v6"] and _is_name(host):
        raise WebSettingsError(f"--listen: [{host}] is not an address of IPv6")
    return host, int(found["port"])


def parse_network(text: str) -> Network:
    """Return an address or a network like ``10.0.0.0/8``.

    Raises:
        WebSettingsError: the text is neither.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise WebSettingsError(f"--trusted-proxy: {error}") from None


def bracketed(host: str) -> str:
    """Return an address as URLs have it: an address of IPv6 is in brackets."""
    return f"[{host}]" if ":" in host else host


def _is_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def parse_past(
    archives: tuple[str, ...],
    directories: tuple[str, ...],
    keys: tuple[str, ...],
    logs: tuple[str, ...],
    names: frozenset[str],
) -> dict[str, PastSource]:
    """Return where the past of each cluster is, from texts of the form ``NAME=PLACE``.

    Args:
        archives: the archives.
        directories: the data directories.
        keys: the key files of archives.
        logs: the dataLogDirs of data directories.
        names: the names of the clusters.

    Raises:
        WebSettingsError: a text does not have this form, or does not fit the others.
    """
    found: dict[str, PastSource] = {}
    for option, texts in (("--archive", archives), ("--data-dir", directories)):
        for name, place in _named(option, texts, names).items():
            if name in found:
                raise WebSettingsError(f"{name} has both --archive and --data-dir: remove one")
            found[name] = PastSource(place, is_archive=option == "--archive")
    for name, place in _named("--archive-key", keys, names).items():
        if name not in found or not found[name].is_archive:
            raise WebSettingsError(f"--archive-key {name}=... needs --archive {name}=URL")
        found[name] = replace(found[name], key_file=Path(place))
    for name, place in _named("--data-log-dir", logs, names).items():
        if name not in found or found[name].is_archive:
            raise WebSettingsError(f"--data-log-dir {name}=... needs --data-dir {name}=DIR")
        found[name] = replace(found[name], logs=Path(place))
    return found


def _named(option: str, texts: tuple[str, ...], names: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, _, place = text.partition("=")
        if not place or place.startswith("-"):
            raise WebSettingsError(f"{option} has the form NAME=PLACE")
        if name not in names:
            raise WebSettingsError(f"{option}: there is no --server {name}=HOSTS")
        if name in found:
            raise WebSettingsError(f"{option} is given twice for {name}: remove one")
        found[name] = place
    return found
