"""Four-letter words: what an operator asks with ``echo srvr | nc``.

Source: the administrator's guide of ZooKeeper 3.9, "The Four Letter Words", and the original's
``server.command`` package for the format of the answers.
"""

import getpass
import os
import platform
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Protocol

from zoolet import __version__
from zoolet.core.machine import StateMachine
from zoolet.server.stats import ServerStats

WORD_BYTES = 4
VERSION = f"3.9.3-zoolet-{__version__}"
"""Which ZooKeeper it speaks as, and what it is."""


class Client(Protocol):
    """What there is to say of a connection."""

    peer: str
    packets_received: int
    packets_sent: int


class Subject(Protocol):
    """What there is to say of a server."""

    machine: StateMachine
    stats: ServerStats

    @property
    def connections(self) -> Collection[Client]:
        """Those that are open."""
        ...

    @property
    def outstanding_requests(self) -> int:
        """How many replies wait for the disk."""
        ...


def answer(word: str, whitelist: Collection[str], server: Subject) -> str:
    """Return the answer to a word, or that it may not be asked; ``*`` whitelists all."""
    if word not in whitelist and "*" not in whitelist:
        return f"{word} is not executed because it is not in the whitelist.\n"
    return _ANSWERS[word](server)


def _ruok(_server: Subject) -> str:
    return "imok"


def _srvr(server: Subject) -> str:
    return f"Zookeeper version: {VERSION}\n{_figures(server)}"


def _stat(server: Subject) -> str:
    clients = "".join(
        f" {connection.peer}[1](queued=0,recved={connection.packets_received}"
        f",sent={connection.packets_sent})\n"
        for connection in server.connections
    )
    return f"Zookeeper version: {VERSION}\nClients:\n{clients}\n{_figures(server)}"


def _envi(_server: Subject) -> str:
    """Return what the server runs on; clients read ``zookeeper.version`` off it."""
    system = platform.uname()
    environment = {
        "zookeeper.version": VERSION,
        "host.name": system.node,
        "python.version": platform.python_version(),
        "python.implementation": platform.python_implementation(),
        "os.name": system.system,
        "os.arch": system.machine,
        "os.version": system.release,
        "user.name": _user_name(),
        "user.dir": Path.cwd(),
    }
    return "Environment:\n" + "".join(f"{name}={value}\n" for name, value in environment.items())


def _user_name() -> str:
    """Return the user's name, or number where a container gives it no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _figures(server: Subject) -> str:
    stats = server.stats
    return (
        f"Latency min/avg/max: {stats.latency_min_ms}/{stats.latency_average_ms}"
        f"/{stats.latency_max_ms}\n"
        f"Received: {stats.packets_received}\n"
        f"Sent: {stats.packets_sent}\n"
        f"Connections: {len(server.connections)}\n"
        f"Outstanding: {server.outstanding_requests}\n"
        f"Zxid: 0x{server.machine.zxid:x}\n"
        "Mode: standalone\n"
        f"Node count: {len(server.machine.tree)}\n"
    )


def _mntr(server: Subject) -> str:
    machine, stats = server.machine, server.stats
    figures = {
        "version": VERSION,
        "server_state": "standalone",
        "avg_latency": stats.latency_average_ms,
        "max_latency": stats.latency_max_ms,
        "min_latency": stats.latency_min_ms,
        "packets_received": stats.packets_received,
        "packets_sent": stats.packets_sent,
        "num_alive_connections": len(server.connections),
        "outstanding_requests": server.outstanding_requests,
        "znode_count": len(machine.tree),
        "watch_count": len(machine.data_watches) + len(machine.child_watches),
        "ephemerals_count": sum(map(len, machine.tree.ephemerals.values())),
        "global_sessions": len(machine.sessions),
    }
    return "".join(f"zk_{name}\t{figure}\n" for name, figure in figures.items())


_ANSWERS: dict[str, Callable[[Subject], str]] = {
    "ruok": _ruok,
    "srvr": _srvr,
    "stat": _stat,
    "mntr": _mntr,
    "envi": _envi,
}

WORDS = frozenset(word.encode() for word in _ANSWERS)
"""The words as a connection's first bytes; none of them could be the length of a frame."""


def unknown_words(words: Iterable[str]) -> list[str]:
    """Return those of ``words`` that are not answered here; ``*`` stands for all that are."""
    return sorted(set(words) - set(_ANSWERS) - {"*"})
