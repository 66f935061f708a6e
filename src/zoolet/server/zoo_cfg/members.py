"""The servers that a zoo.cfg or its ``dynamicConfigFile`` names.

A standalone server accepts one at most; an observer needs all members of its ensemble.

Source: ``QuorumPeerConfig.parseDynamicConfig`` and ``QuorumPeer.QuorumServer``. A server is written
``server.N=HOST:PORT:PORT[:ROLE][|...][;[HOST:]CLIENT_PORT]``.
"""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from zoolet.model.addresses import AddressError, parse_address, parse_port
from zoolet.model.ensemble import LARGEST_ID, EnsembleMember
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.properties import PropertiesError, parse_properties
from zoolet.server.zoo_cfg.settings import Settings, read_settings_text
from zoolet.wire.ensemble_config import decode_member
from zoolet.wire.jute import MalformedError

_DYNAMIC_KEYS = ("server.", "group", "weight")
_ADVICE = "To move the data of one server to an ensemble, or back, use: zoolet ensemble"


class PeerType(Enum):
    """The role of a server, in ``peerType``."""

    PARTICIPANT = "participant"
    OBSERVER = "observer"


class Member(NamedTuple):
    """A server that a ``server.N`` line names.

    Attributes:
        key: the key of the line, ``server.N``.
        place: the file and the line number, for messages.
        role: ``participant`` or ``observer``.
        client_host: the address for clients; None if the line has none.
        client_port: the port for clients; None if the line has none.
    """

    key: str
    place: str
    role: str
    client_host: str | None
    client_port: int | None


def only_member(settings: Settings) -> Member | None:
    """Return the only server that is named; None if no server is named.

    Raises ConfigError if several servers or an observer are named, because Apache then does not
    start a standalone server. Also raises it if a line is malformed.
    """
    members = [_member(*named) for named in _named(settings)]
    observers = [member for member in members if member.role == "observer"]
    if len(members) > 1 or observers:
        first = (observers or members)[0]
        what = "an observer" if observers else f"{len(members)} servers"
        raise ConfigError(
            f"{first.place}: {first.key} sets up an ensemble ({what}), but zoolet supports only"
            f" one server. Remove the server.N lines to start a standalone server. {_ADVICE}."
        )
    return members[0] if members else None


def is_observer(settings: Settings) -> bool:
    """Return whether zoo.cfg sets up an observer. Raises ConfigError for an unknown peerType."""
    return settings.choice("peerType", PeerType) is PeerType.OBSERVER


def own_member(settings: Settings) -> Member | None:
    """Return the ``server.N`` line of this server, an observer; None if there is no such line.

    Raises ConfigError if no other server is named.
    """
    named = list(_named(settings))
    own = f"server.{read_my_id(settings)}" if named else ""
    if all(key == own for key, _, _ in named):
        raise settings.error(
            "peerType",
            "peerType=observer needs the members of the ensemble: add their lines server.N, the"
            " same as in their zoo.cfg",
        )
    return next((_member(*line) for line in named if line[0] == own), None)


def members_of(settings: Settings) -> dict[int, EnsembleMember]:
    """Return all members that are named, by number; raises ConfigError if a line is malformed."""
    members: dict[int, EnsembleMember] = {}
    for key, value, place in _named(settings):
        _member(key, value, place)
        number = int(key.removeprefix("server."))
        try:
            members[number] = decode_member(number, value)
        except MalformedError as error:
            raise ConfigError(f"{place}: {key}: {error}.") from error
    return members


def read_my_id(settings: Settings) -> int:
    """Return the number of this server, from the file ``myid`` in the dataDir."""
    data_dir = settings.directory("dataDir")
    if data_dir is None:
        raise settings.missing("dataDir", "the directory for snapshots and logs")
    path = data_dir / "myid"
    advice = (
        f"Write a number from 1 to {LARGEST_ID} into it that no other member or observer has:"
        f" echo 101 > {path}"
    )
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist, and an observer needs it. {advice}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise ConfigError(f"{path} cannot be read: {reason}. {advice}") from error
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST_ID:
        raise ConfigError(f"{path} has no valid number. {advice}")
    return int(text)


def _named(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield the key, the value and the file of each server."""
    in_file = list(settings.matching("server.N"))
    dynamic = settings.text("dynamicConfigFile")
    if not dynamic:
        for key, value in in_file:
            yield key, value, settings.place(key)
        return
    if in_file:
        key = in_file[0][0]
        raise settings.error(key, f"{key} must be in the dynamicConfigFile {dynamic}")
    yield from _in_dynamic_file(settings, Path(dynamic))


def _in_dynamic_file(settings: Settings, path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        properties = list(parse_properties(read_settings_text(path)))
    except ConfigError as error:
        raise settings.error(
            "dynamicConfigFile", f"dynamicConfigFile: {error} {_ADVICE}"
        ) from error
    except PropertiesError as error:
        raise ConfigError(f"{path}:{error.line}: {error.reason}.") from error
    for key, _, line in properties:
        if not key.startswith(_DYNAMIC_KEYS):
            raise ConfigError(
                f"{path}:{line}: {key} cannot be in a dynamicConfigFile: move it to"
                f" {settings.path}."
            )
    # A later line replaces an earlier line with the same key.
    for key, (value, line) in {key: (value, line) for key, value, line in properties}.items():
        if key.startswith("server."):
            yield key, value, f"{path}:{line}"


def _member(key: str, value: str, place: str) -> Member:
    """Return the server of a line; raises ConfigError if the line is malformed."""
    number = key.removeprefix("server.")
    if not (number.isascii() and number.isdecimal()):
        raise ConfigError(f"{place}: {key} has no number: write server.N with the server's number.")
    addresses, semicolon, client = value.partition(";")
    role = "participant"
    for address in addresses.split("|"):
        last = address.rpartition(":")[2].strip().lower()
        if last in {"observer", "participant"}:
            role = last
    if not semicolon:
        return Member(key, place, role, None, None)
    client = client.strip()
    try:
        if client.isdecimal():
            return Member(key, place, role, None, parse_port(client))
        host, port = parse_address(client, None)
    except AddressError as error:
        raise ConfigError(f"{place}: {key}: the client address {error}.") from error
    return Member(key, place, role, host, port)
