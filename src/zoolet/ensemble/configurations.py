"""The zoo.cfg of a member, from the zoo.cfg of one server, and in the other direction.

This module reads and writes no files. The keys of the old zoo.cfg stay in their order, except the
keys that have another meaning in an ensemble.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.ensemble.members import Member
from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES, max_txn_bytes_of
from zoolet.server.zoo_cfg.key import Source
from zoolet.server.zoo_cfg.keys import find_key
from zoolet.server.zoo_cfg.properties import Property, format_property

MAX_BUFFER: Final = "jute.maxbuffer"
TTL_KEY: Final = "extendedTypesEnabled"

_SECRET: Final = "zoolet.sessionSecret"  # noqa: S105 -- the name of a key
_FACTORY: Final = "serverCnxnFactory"
_NETTY: Final = "org.apache.zookeeper.server.NettyServerCnxnFactory"
_SECURE_PORT: Final = "secureClientPort"

_PLACES: Final = frozenset({"dataDir", "dataLogDir", "clientPort", "clientPortAddress"})
_OF_ENSEMBLES: Final = frozenset({"dynamicConfigFile", "peerType", "standaloneEnabled"})
_PREFIXES_OF_ENSEMBLES: Final = ("server.", "group.", "weight.")
_LIMITS: Final = {"initLimit": "10", "syncLimit": "5"}
"""The ticks that a member may need to get the data, and to answer the leader."""

_AUTOCREATE: Final = "db.autocreate"
"""With the value ``false``, a member without data does not vote. Otherwise members whose data were
not copied could elect a leader without data (``FastLeaderElection``, ZOOKEEPER-2325)."""

_ONLY_IN_ENSEMBLES: Final = frozenset(
    {*_OF_ENSEMBLES, *_LIMITS, _AUTOCREATE, _FACTORY, "reconfigEnabled"}
)

_ONE_PER_MACHINE: Final = (_SECURE_PORT, "admin.serverPort", "metricsProvider.httpPort")

_JAVA_OPTION: Final = re.compile(r"-D([\w.]+)=(\d+)")


class Places(NamedTuple):
    """The directories that a zoo.cfg names; ``data_log_dir`` is None if it is the dataDir."""

    data_dir: Path
    data_log_dir: Path | None


class Needs(NamedTuple):
    """What the data need of the settings.

    Attributes:
        has_ttl: whether there are TTL znodes.
        largest_bytes: the size of the largest txn, or of the largest data of a znode.
    """

    has_ttl: bool
    largest_bytes: int

    @property
    def least_max_buffer(self) -> int:
        """The least ``jute.maxbuffer`` with which Apache ZooKeeper can read the data."""
        if self.largest_bytes <= max_txn_bytes_of(DEFAULT_MAX_FRAME_BYTES):
            return DEFAULT_MAX_FRAME_BYTES
        return -(-self.largest_bytes // 2)


def member_config(
    properties: Iterable[Property],
    members: Sequence[Member],
    member: Member,
    places: Places,
    needs: Needs,
) -> str:
    """Return the zoo.cfg of a member; ``properties`` are those of the server's zoo.cfg."""
    values = _last_values(properties)
    written = {key: value for key, value in values.items() if not _is_left_out(key, member)}
    for key, value in _LIMITS.items():
        written.setdefault(key, value)
    written.pop(_AUTOCREATE, None)
    if not member.is_observer:
        written[_AUTOCREATE] = "false"
    if needs.has_ttl:
        written[TTL_KEY] = "true"
    if _SECURE_PORT in written:
        written[_FACTORY] = _NETTY
    if member.is_observer:
        written["peerType"] = "observer"
    lines = [f"# Member {member.number} of an ensemble, written by: zoolet ensemble create\n"]
    lines += [format_property(key, value) for key, value in _written_places(places)]
    lines += [format_property(key, value) for key, value in written.items()]
    lines += [format_property(each.key, each.value) for each in members]
    return "".join(lines)


def _last_values(properties: Iterable[Property]) -> dict[str, str]:
    """Return the values by key: a later line replaces an earlier one with the same key."""
    return {key: value for key, value, _ in properties if key}


def _written_places(places: Places) -> Iterator[tuple[str, str]]:
    yield "dataDir", str(places.data_dir)
    if places.data_log_dir is not None:
        yield "dataLogDir", str(places.data_log_dir)


def _is_left_out(key: str, member: Member) -> bool:
    """Return whether a key of the server is not in the zoo.cfg of a member."""
    return (
        key in _PLACES
        or key in _OF_ENSEMBLES
        or key.startswith(_PREFIXES_OF_ENSEMBLES)
        or key == _SECRET
        or (key.startswith("zoolet.") and not member.is_observer)
    )


def java_options(properties: Iterable[Property], needs: Needs) -> dict[str, int]:
    """Return the settings that Apache reads only as Java's system properties, with their values."""
    options = {
        key: number
        for key, value in _last_values(properties).items()
        if _is_java_option(key) and (number := _number(value)) is not None
    }
    if options.get(MAX_BUFFER, DEFAULT_MAX_FRAME_BYTES) < needs.least_max_buffer:
        options[MAX_BUFFER] = needs.least_max_buffer
    return options


def _is_java_option(key: str) -> bool:
    known = find_key(key)
    return known is not None and known.source is Source.BARE_PROPERTY


def _number(value: str) -> int | None:
    """Return a number, which may have the prefix 0x; None if Apache would ignore it."""
    try:
        return int(value, 0)
    except ValueError:
        return None


def java_env(options: Mapping[str, int]) -> str:
    """Return the content of ``java.env``, which Apache's zkServer.sh reads beside zoo.cfg."""
    flags = " ".join(f"-D{key}={value}" for key, value in options.items())
    return f'SERVER_JVMFLAGS="$SERVER_JVMFLAGS {flags}"\n'


def options_in(java_env_text: str) -> dict[str, int]:
    """Return the settings of the server that a ``java.env`` sets as system properties."""
    found = _JAVA_OPTION.findall(java_env_text)
    return {key: int(value) for key, value in found if _is_java_option(key)}


def notes_on_members(properties: Iterable[Property], members: Sequence[Member]) -> Iterator[str]:
    """Yield what the user must know about the settings of the members."""
    values = _last_values(properties)
    if values.get("clientPortAddress"):
        yield (
            f"clientPortAddress={values['clientPortAddress']} is left out: a member accepts clients"
            " on all addresses, or on the address in ID=HOST:PORT:PORT;ADDRESS:CLIENTPORT"
        )
    if _SECRET in values:
        yield (
            f"{_SECRET} is left out: the members compute other session passwords, so no client can"
            " resume its session. Ephemerals are deleted when the old sessions expire"
        )
    if _SECURE_PORT in values:
        yield (
            f"{_SECURE_PORT} needs {_FACTORY}={_NETTY}, which is set, and netty's jars. The files"
            " of ssl.* must exist on each machine"
        )
    dropped = [key for key in values if key.startswith(_PREFIXES_OF_ENSEMBLES[1:])]
    if dropped:
        yield f"{', '.join(dropped)} are left out: every participant has one vote"
    hosts = [member.host for member in members]
    if len(set(hosts)) < len(hosts):
        shared = [key for key in _ONE_PER_MACHINE if key in values]
        if shared:
            yield (
                f"members on the same machine need different values of {', '.join(shared)}: change"
                " them in each zoo.cfg"
            )


def standalone_config(
    properties: Iterable[Property],
    client: tuple[str | None, int] | None,
    places: Places,
    options: Mapping[str, int],
) -> str:
    """Return the zoo.cfg of one server, from the properties of a member.

    Args:
        properties: the properties of the member's zoo.cfg, without those of a dynamicConfigFile.
        client: the address and the port for clients in the ``server.N`` line of the member.
        places: the directories of the new server.
        options: Java's system properties of the member.
    """
    values = _last_values(properties)
    written = {key: value for key, value in values.items() if not _is_of_ensembles(key)}
    written |= {key: str(value) for key, value in options.items()}
    if client is not None:
        host, port = client
        written["clientPort"] = str(port)
        if host is not None:
            written["clientPortAddress"] = host
    for name in ("dataDir", "dataLogDir"):
        written.pop(name, None)
    lines = ["# Written by: zoolet ensemble import\n"]
    lines += [format_property(key, value) for key, value in _written_places(places)]
    lines += [format_property(key, value) for key, value in written.items()]
    return "".join(lines)


def _is_of_ensembles(key: str) -> bool:
    """Return whether a key of a member has no use for one server."""
    return key in _ONLY_IN_ENSEMBLES or key.startswith(_PREFIXES_OF_ENSEMBLES)
