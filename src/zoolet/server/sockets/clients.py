"""The identity of a client before it authenticates: its address.

The connections of one host share the objects of its address and its identity.
"""

import sys
from typing import Final

from zoolet.model.acl import Id
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.networks import client_address

_KEPT_HOSTS: Final = 1000
_clients_by_host: dict[str, tuple[str, Identities]] = {}


def client_at(host: str) -> tuple[str, Identities]:
    """Return the address and the identities of a client whose socket has the address ``host``."""
    found = _clients_by_host.get(host)
    if found is None:
        if len(_clients_by_host) >= _KEPT_HOSTS:
            _clients_by_host.clear()
        address = sys.intern(client_address(host))
        found = _clients_by_host[host] = address, Identities((Id("ip", address),))
    return found
