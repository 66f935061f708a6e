"""``sessions``: list the sessions with their connections and ephemerals.

The protocol has no request for this, so the command uses the four-letter words cons and dump. A
server answers them only if they are in its ``4lw.commands.whitelist``.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from zoolet.client.connecting.four_letter_words import ask
from zoolet.console.texts import counted
from zoolet.model.addresses import Address
from zoolet.shell.answers import Answer
from zoolet.shell.commands.registry import command
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError

_CONNECTION = re.compile(r"^ ?/(?P<address>\S+?)\[\d+\]\((?P<figures>.*)\)$", re.MULTILINE)
_EPHEMERALS = re.compile(r"^(0x[0-9a-f]+):\n((?:\t.*\n?)+)", re.MULTILINE)
_REFUSED = "is not executed because it is not in the whitelist"


class _Connection(NamedTuple):
    """A session's connection, as the server's reply to cons describes it.

    Attributes:
        server: the address of the server.
        address: the address of the client.
        timeout_ms: the session timeout.
    """

    server: str
    address: str
    timeout_ms: int


@command("sessions", "list the sessions: connection, timeout, number of ephemerals")
def _sessions(context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    connections: dict[str, _Connection] = {}
    ephemerals: dict[str, set[str]] = defaultdict(set)
    for address in context.connection.servers.addresses:
        connections |= _connections(str(address), _ask(context, address, "cons"))
        for session, listed in _EPHEMERALS.findall(_ask(context, address, "dump")):
            ephemerals[session] |= set(listed.split("\n\t")) - {""}
    for session in sorted(connections.keys() | ephemerals.keys()):
        owned = sorted(path.strip() for path in ephemerals[session])
        yield _show(session, connections.get(session), owned)


def _connections(server: str, answer: str) -> dict[str, _Connection]:
    """Return the connections in a reply to cons by session id, without that of cons itself."""
    found = {}
    for line in _CONNECTION.finditer(answer):
        figures = dict(
            figure.strip().split("=", 1) for figure in line["figures"].split(",") if "=" in figure
        )
        if "sid" in figures:
            timeout_ms = int(figures.get("to", 0))
            found[figures["sid"]] = _Connection(server, line["address"], timeout_ms)
    return found


def _show(session: str, connection: _Connection | None, ephemerals: list[str]) -> Answer:
    value: dict[str, Any] = {"session": session, "ephemerals": ephemerals}
    owned = counted(len(ephemerals), "ephemeral")
    if connection is None:
        return Answer({**value, "address": None}, f"{session} not connected, {owned}")
    text = (
        f"{session} {connection.address} on {connection.server}, timeout"
        f" {connection.timeout_ms} ms, {owned}"
    )
    return Answer({**value, **connection._asdict()}, text)


def _ask(context: Context, address: Address, word: str) -> str:
    settings = context.settings.connection
    try:
        answer = ask(address, word, settings.connect_timeout_s, settings.tls)
    except OSError as error:
        raise CommandError(f"{address} does not answer {word}: {error}") from error
    if _REFUSED in answer:
        raise CommandError(
            f"{address} does not answer {word}: add it to 4lw.commands.whitelist in its zoo.cfg"
        )
    return answer
