"""The members of an ensemble, written as in Apache ZooKeeper: ``ID=HOST:PORT:PORT;CLIENTPORT``.

The first port connects members to the leader, the second is for elections. ``:observer`` after the
second port makes an observer. ``HOST:`` before the client's port selects an address of the machine.
Source: ``QuorumPeer.QuorumServer`` and the administrator's guide of ZooKeeper 3.9.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from zoolet.ensemble.errors import EnsembleError
from zoolet.model.addresses import (
    EVERY_ADDRESS,
    AddressError,
    format_address,
    parse_address,
    parse_host,
    parse_port,
)
from zoolet.model.ensemble import LARGEST_ID

SYNTAX: Final = "ID=HOST:PORT:PORT;CLIENTPORT"

_LEAST_PARTICIPANTS: Final = 2
_OBSERVER: Final = "observer"
_ROLES: Final = frozenset({"participant", _OBSERVER})


class Member(NamedTuple):
    """A member of an ensemble.

    Attributes:
        number: the number in ``myid`` and in the key ``server.N``.
        host: the host name or address of the member's machine.
        quorum_port: the port that connects members to the leader.
        election_port: the port for elections.
        is_observer: whether the member is an observer, which has no vote.
        client_host: the address for clients; None means all addresses.
        client_port: the port for clients; None if it is not written.
    """

    number: int
    host: str
    quorum_port: int
    election_port: int
    is_observer: bool
    client_host: str | None
    client_port: int | None

    @property
    def key(self) -> str:
        """The key of the member in zoo.cfg."""
        return f"server.{self.number}"

    @property
    def value(self) -> str:
        """The value of the key in zoo.cfg."""
        role = f":{_OBSERVER}" if self.is_observer else ""
        server = f"{format_address(self.host, self.quorum_port)}:{self.election_port}{role}"
        if self.client_port is None:
            return server
        if self.client_host is None:
            return f"{server};{self.client_port}"
        return f"{server};{format_address(self.client_host, self.client_port)}"

    @property
    def role(self) -> str:
        """The word for the member in messages."""
        return _OBSERVER if self.is_observer else "participant"


def parse_member(text: str) -> Member:
    """Return the member in ``ID=HOST:PORT:PORT[:ROLE][;[HOST:]CLIENTPORT]``.

    Raises EnsembleError.
    """
    number, equals, value = text.partition("=")
    number = number.strip().removeprefix("server.")
    if not equals:
        raise EnsembleError(f"{text!r} is not a member: write {SYNTAX}, for example {_EXAMPLE}.")
    is_number = number.isascii() and number.isdecimal() and len(number) < len("1000")
    if not is_number or not 1 <= int(number) <= LARGEST_ID:
        raise EnsembleError(
            f"{text!r}: {number!r} is not the number of a member: write a number from 1 to"
            f" {LARGEST_ID}."
        )
    try:
        return _parse_value(int(number), value)
    except AddressError as error:
        raise EnsembleError(f"{text!r}: {error}.") from error


_EXAMPLE: Final = "'1=zk1.example.org:2888:3888;2181'"


def _parse_value(number: int, value: str) -> Member:
    """Return a member; raises AddressError."""
    if "|" in value:
        raise AddressError("several addresses of one member are not supported: write one of them")
    server, semicolon, client = value.partition(";")
    host, parts = _split_host(server.strip())
    role = parts.pop().strip().lower() if len(parts) == len(("port", "port", "role")) else ""
    if len(parts) != len(("port", "port")) or (role and role not in _ROLES):
        raise AddressError(f"write {SYNTAX}, for example {_EXAMPLE}")
    quorum_port, election_port = (parse_port(part.strip()) for part in parts)
    client_host, client_port = None, None
    if semicolon:
        client_host, client_port = _parse_client(client.strip())
    is_observer = role == _OBSERVER
    return Member(number, host, quorum_port, election_port, is_observer, client_host, client_port)


def _split_host(text: str) -> tuple[str, list[str]]:
    """Return the host and the parts after it; an IPv6 host is in brackets."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        return parse_host(host + bracket), rest.removeprefix(":").split(":")
    host, *parts = text.split(":")
    return parse_host(host), parts


def _parse_client(text: str) -> tuple[str | None, int]:
    if text.isdecimal():
        return None, parse_port(text)
    host, port = parse_address(text, None)
    return None if host in EVERY_ADDRESS else host, port


def check_members(members: Sequence[Member]) -> None:
    """Raise EnsembleError if two members exclude each other, or if there are too few."""
    by_number: dict[int, Member] = {}
    ports: dict[tuple[str, int], str] = {}
    for member in members:
        if member.number in by_number:
            raise EnsembleError(f"two members have the number {member.number}: change one of them.")
        by_number[member.number] = member
        for use, port in _ports_of(member):
            place = f"the {use} of member {member.number}"
            if (other := ports.get((member.host, port))) is not None:
                raise EnsembleError(
                    f"{other} and {place} are both port {port} of {member.host}: change"
                    " one of them."
                )
            ports[member.host, port] = place
    participants = [member for member in members if not member.is_observer]
    if len(participants) < _LEAST_PARTICIPANTS:
        raise EnsembleError(
            f"{len(participants)} of the members have a vote, but an ensemble needs 2 at least."
            " Name 3: then the ensemble continues if one of them fails."
        )


def _ports_of(member: Member) -> Iterator[tuple[str, int]]:
    yield "quorum port", member.quorum_port
    yield "election port", member.election_port
    if member.client_port is not None:
        yield "client port", member.client_port


def majority_of(participants: int) -> int:
    """Return the least number of participants that are a majority."""
    return participants // 2 + 1
