"""The servers of a cluster: those of the hosts list and those of the ensemble's configuration.

Source: ``/zookeeper/config``, with the lines of ``QuorumMaj.toString`` of Apache ZooKeeper.
"""

from typing import Final, NamedTuple

from zoolet.model.addresses import EVERY_ADDRESS, Address, parse_address
from zoolet.wire.ensemble_config import decode_config
from zoolet.wire.jute import MalformedError

MOST_MEMBERS: Final = 50
"""Most members of an ensemble that the page shows."""


class Member(NamedTuple):
    """A member of the configuration.

    Attributes:
        id: its number.
        role: participant or observer.
        quorum: its addresses for the other members.
        clients: its address for clients; None if the configuration does not say it.
    """

    id: int
    role: str
    quorum: str
    clients: Address | None


def members_of(data: bytes | None) -> list[Member]:
    """Return the members in the data of ``/zookeeper/config``; none if the data say nothing."""
    try:
        config = decode_config(data or b"")
    except MalformedError:
        return []
    found = []
    for member in list(config.members.values())[:MOST_MEMBERS]:
        clients = parse_address(member.client_address) if member.client_address else None
        if clients is not None and clients.host in EVERY_ADDRESS:
            clients = Address(member.addresses[0].host, clients.port)
        role = "participant" if member.is_participant else "observer"
        quorum = ", ".join(address.quorum for address in member.addresses)
        found.append(Member(member.id, role, quorum, clients))
    return found


def all_addresses(hosts: tuple[Address, ...], members: list[Member]) -> list[Address]:
    """Return the addresses of all servers, each once: the hosts first."""
    return list(dict.fromkeys([*hosts, *(one.clients for one in members if one.clients)]))
