"""The configuration of an ensemble as text.

Source: ``QuorumMaj.toString``, ``QuorumHierarchical.toString`` and ``QuorumPeer.QuorumServer`` of
Apache ZooKeeper. Lines are ``KEY=VALUE``. A member is written
``server.N=HOST:PORT:PORT[:ROLE][|...][;[HOST:]CLIENT_PORT]``.
"""

import re
from typing import Final

from zoolet.model.addresses import (
    AddressError,
    format_address,
    parse_address,
    parse_host,
    parse_port,
)
from zoolet.model.ensemble import EnsembleConfig, EnsembleMember, QuorumAddress
from zoolet.wire.jute import MalformedError

_ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 -- compared, not listened on
_PARTICIPANT: Final = "participant"
_OBSERVER: Final = "observer"
_ADDRESS: Final = re.compile(
    r"(?P<host>\[[^\]]*\]|[^:\[\]]+|.+?):(?P<quorum>\d+):(?P<election>\d+)(:(?P<role>\w+))?"
)


def decode_config(data: bytes) -> EnsembleConfig:
    """Return the configuration in a packet NEWLEADER, a notification or ``/zookeeper/config``.

    Lines with other keys are ignored. Raises MalformedError.
    """
    members: dict[int, EnsembleMember] = {}
    version = 0
    is_hierarchical = False
    for line in data.decode("utf-8", "replace").splitlines():
        key, _, value = line.strip().partition("=")
        kind, _, number = key.partition(".")
        if kind == "server":
            member = decode_member(_member_id(number, line), value)
            members[member.id] = member
        elif key == "version":
            version = _version(value)
        elif kind in {"group", "weight"}:
            is_hierarchical = True
    return EnsembleConfig(members, version, is_hierarchical)


def decode_member(member_id: int, text: str) -> EnsembleMember:
    """Return the member that the value of ``server.N`` describes; raises MalformedError."""
    server, _, client = text.partition(";")
    addresses: list[QuorumAddress] = []
    roles: set[str] = set()
    for part in server.split("|"):
        found = _ADDRESS.fullmatch(part.strip())
        if found is None:
            raise MalformedError(f"{part!r} does not have the form HOST:PORT:PORT[:ROLE]")
        try:
            addresses.append(
                QuorumAddress(
                    parse_host(found["host"]),
                    parse_port(found["quorum"]),
                    parse_port(found["election"]),
                )
            )
        except AddressError as error:
            raise MalformedError(str(error)) from error
        if found["role"] is not None:
            roles.add(found["role"].lower())
    if len(roles) > 1 or not roles <= {_PARTICIPANT, _OBSERVER}:
        raise MalformedError(f"{text!r}: the role must be participant or observer")
    return EnsembleMember(
        member_id, tuple(addresses), _OBSERVER not in roles, _client_address(client.strip())
    )


def _client_address(text: str) -> str:
    """Return ``HOST:PORT`` of ``[HOST:]PORT``; "" if the text is empty."""
    if not text:
        return ""
    try:
        if text.isdecimal():
            return format_address(_ANY_ADDRESS, parse_port(text))
        address = parse_address(text, None)
    except AddressError as error:
        raise MalformedError(f"the client address: {error}") from error
    return format_address(address.host, address.port)


def _member_id(text: str, line: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise MalformedError(f"{line!r} has no number of a server") from error


def _version(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError as error:
        raise MalformedError(f"the version {text!r} is not hexadecimal") from error
