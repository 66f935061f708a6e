"""Waits for the ticket of Kerberos for a server, in the background thread of a `Client`.

Invariant: the wait ends after its time limit. Imports ``client/connecting``, and `transport.py`.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from zoolet.client.thread_client.transport import TICK_S

if TYPE_CHECKING:
    from zoolet.client.connecting.kerberos import KerberosLogin


def prepare_login(
    kerberos: "KerberosLogin", host: str, ip: str, limit_s: float, check: Callable[[], None]
) -> None:
    """Get the ticket for a server; call ``check`` often, whose exception ends the wait.

    Raises:
        TimeoutError: the KDC does not reply within ``limit_s``.
        TicketError: there is no ticket.
    """
    end_s = time.monotonic() + limit_s
    prepared = kerberos.prepare(host, ip)
    while True:
        try:
            exchange = prepared.result(TICK_S)
        except TimeoutError:
            check()
            if time.monotonic() >= end_s:
                raise TimeoutError(f"no ticket of Kerberos within {limit_s:g} s") from None
        else:
            kerberos.use(exchange)
            return
