"""Four-letter words: what an operator asks with ``echo srvr | nc``.

Source: the administrator's guide of ZooKeeper 3.9, "The Four Letter Words", and the original's
``server.command`` package for the format of the answers.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from zoolet import __version__

if TYPE_CHECKING:
    from zoolet.server.processor import RequestProcessor

WORD_BYTES = 4
VERSION = f"3.9.3-zoolet-{__version__}"
"""Which ZooKeeper it speaks as, and what it is."""


def answer(word: str, processor: "RequestProcessor") -> str:
    """Return the answer to a word, whether or not it may be asked here."""
    if word not in processor.four_letter_words:
        return f"{word} is not executed because it is not in the whitelist.\n"
    return _ANSWERS[word](processor)


def _ruok(_processor: "RequestProcessor") -> str:
    return "imok"


def _srvr(processor: "RequestProcessor") -> str:
    return f"Zookeeper version: {VERSION}\n{_figures(processor)}"


def _stat(processor: "RequestProcessor") -> str:
    clients = "".join(
        f" {connection.peer}[1](queued=0,recved={connection.packets_received}"
        f",sent={connection.packets_sent})\n"
        for connection in processor.connections
    )
    return f"Zookeeper version: {VERSION}\nClients:\n{clients}\n{_figures(processor)}"


def _figures(processor: "RequestProcessor") -> str:
    stats = processor.stats
    return (
        f"Latency min/avg/max: {stats.latency_min_ms}/{stats.latency_average_ms}"
        f"/{stats.latency_max_ms}\n"
        f"Received: {stats.packets_received}\n"
        f"Sent: {stats.packets_sent}\n"
        f"Connections: {len(processor.connections)}\n"
        f"Outstanding: {processor.outstanding_requests}\n"
        f"Zxid: 0x{processor.machine.zxid:x}\n"
        "Mode: standalone\n"
        f"Node count: {len(processor.machine.tree)}\n"
    )


def _mntr(processor: "RequestProcessor") -> str:
    machine, stats = processor.machine, processor.stats
    figures = {
        "version": VERSION,
        "server_state": "standalone",
        "avg_latency": stats.latency_average_ms,
        "max_latency": stats.latency_max_ms,
        "min_latency": stats.latency_min_ms,
        "packets_received": stats.packets_received,
        "packets_sent": stats.packets_sent,
        "num_alive_connections": len(processor.connections),
        "outstanding_requests": processor.outstanding_requests,
        "znode_count": len(machine.tree),
        "watch_count": len(machine.data_watches) + len(machine.child_watches),
        "ephemerals_count": sum(map(len, machine.tree.ephemerals.values())),
        "global_sessions": len(machine.sessions),
    }
    return "".join(f"zk_{name}\t{figure}\n" for name, figure in figures.items())


_ANSWERS: dict[str, Callable[["RequestProcessor"], str]] = {
    "ruok": _ruok,
    "srvr": _srvr,
    "stat": _stat,
    "mntr": _mntr,
}

WORDS = frozenset(word.encode() for word in _ANSWERS)
"""The words as a connection's first bytes; none of them could be the length of a frame."""


def unknown_words(words: Iterable[str]) -> list[str]:
    """Return those of ``words`` that are not answered here; ``*`` stands for all that are."""
    return sorted(set(words) - set(_ANSWERS) - {"*"})
