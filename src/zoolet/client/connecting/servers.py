"""The servers of a client as text, with the path of its root. Imports ``model``.

Source: Apache ZooKeeper's ``ConnectStringParser``.
"""

from typing import NamedTuple

from zoolet.model import paths
from zoolet.model.addresses import DEFAULT_PORT, Address, AddressError, parse_address

_SERVERS = "HOST:PORT[,HOST:PORT...][/PATH]"


class Servers(NamedTuple):
    """The servers of a client, and its root znode.

    Attributes:
        addresses: the addresses of the servers, at least one, in the given order.
        chroot: the path of the znode that is the client's root; "" if it is ``/``.
    """

    addresses: tuple[Address, ...]
    chroot: str = ""

    @property
    def hosts(self) -> str:
        """The addresses as ``HOST:PORT,HOST:PORT``, as kazoo expects them."""
        return ",".join(map(str, self.addresses))

    def __str__(self) -> str:
        return self.hosts + self.chroot


def parse_servers(text: str, default_port: int = DEFAULT_PORT) -> Servers:
    """Return the servers of ``HOST:PORT[,HOST:PORT...][/PATH]``; raises AddressError.

    Blanks around addresses and empty addresses, for example after a trailing comma, are ignored.
    """
    listed, slash, path = text.strip().partition("/")
    written = [address for address in map(str.strip, listed.split(",")) if address]
    if not written:
        raise AddressError(f"{text!r} names no server: write {_SERVERS}")
    chroot = (slash + path).rstrip("/")
    if chroot and (reason := paths.reason_invalid(chroot)) is not None:
        raise AddressError(f"{text!r}: {chroot!r} is not the path of a znode: {reason}")
    try:
        addresses = tuple(parse_address(address, default_port) for address in written)
    except AddressError as error:
        raise AddressError(f"{error}; write {_SERVERS}") from error
    return Servers(addresses, chroot)
