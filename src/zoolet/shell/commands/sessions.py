"""``sessions``: list the sessions with their connections and ephemerals.

The protocol has no request for this, so the command uses the four-letter words cons and dump. A
server answers them only if they are in its ``4lw.commands.whitelist``.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from zoolet.client.connecting.answer_lines import ConnectedSession, parse_connection
from zoolet.client.connecting.four_letter_words import ask, is_refused, refusal
from zoolet.console.texts import counted
from zoolet.model.addresses import Address
from zoolet.shell.answers import Answer
from zoolet.shell.commands.registry import command
from zoolet.shell.context import Context
from zoolet.shell.errors import CommandError

_EPHEMERALS = re.compile(r"^(0x[0-9a-f]+):\n((?:\t.*\n?)+)", re.MULTILINE)


@command("sessions", "list the sessions: connection, timeout, number of ephemerals")
def _sessions(context: Context, _arguments: argparse.Namespace) -> Iterator[Answer]:
    connections: dict[str, ConnectedSession] = {}
    ephemerals: dict[str, set[str]] = defaultdict(set)
    for address in context.connection.servers.addresses:
        connections |= _connections(str(address), _ask(context, address, "cons"))
        for session, listed in _EPHEMERALS.findall(_ask(context, address, "dump")):
            ephemerals[session] |= set(listed.split("\n\t")) - {""}
    for session in sorted(connections.keys() | ephemerals.keys()):
        owned = sorted(path.strip() for path in ephemerals[session])
        yield _show(session, connections.get(session), owned)


def _connections(server: str, answer: str) -> dict[str, ConnectedSession]:
    """Return the connections in a reply to cons by session id, without that of cons itself."""
    lines = (parse_connection(line, server) for line in answer.split("\n"))
    return {f"{found.id:#x}": found for found in lines if found is not None}


def _show(session: str, connection: ConnectedSession | None, ephemerals: list[str]) -> Answer:
    value: dict[str, Any] = {"session": session, "ephemerals": ephemerals}
    owned = counted(len(ephemerals), "ephemeral")
    if connection is None:
        return Answer({**value, "address": None}, f"{session} not connected, {owned}")
    text = (
        f"{session} {connection.address} on {connection.server}, timeout"
        f" {connection.timeout_ms} ms, {owned}"
    )
    more = {
        "server": connection.server,
        "address": connection.address,
        "timeout_ms": connection.timeout_ms,
    }
    return Answer({**value, **more}, text)


def _ask(context: Context, address: Address, word: str) -> str:
    settings = context.settings.connection
    try:
        answer = ask(address, word, settings.connect_timeout_s, settings.tls)
    except OSError as error:
        raise CommandError(f"{address} does not answer {word}: {error}") from error
    if is_refused(answer, word):
        raise CommandError(refusal(address, word))
    return answer
