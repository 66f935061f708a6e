"""Access to the state of an embedded server: requests, sessions, watches, znodes, and assertions.

This module reads the server's state for a test. It does not change the state.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import NamedTuple, TypeVar

from zoolet.model import paths
from zoolet.model.codes import WatchMode
from zoolet.server.service import Server
from zoolet.state_machine.znode import Znode
from zoolet.testing.received_requests.seen_requests import SeenRequest
from zoolet.testing.servers.faults import Who, session_id_of
from zoolet.testing.servers.loop_thread import LoopThread
from zoolet.testing.servers.network import Network

T = TypeVar("T")

_WAIT_S = 10.0
_QUIET_S = 0.05
_CHECK_S = 0.002
_SHOWN_REQUESTS = 3


class Watch(NamedTuple):
    """A watch that a client has set.

    Attributes:
        session_id: the id of the session that has the watch.
        path: the watched path.
        kind: ``data`` (an exists sets this kind too) or ``children``.
        mode: standard, persistent or persistent recursive.
    """

    session_id: int
    path: str
    kind: str
    mode: WatchMode

    def __str__(self) -> str:
        return f"{self.kind} watch on {self.path} of session 0x{self.session_id:x}"


class SessionSeen(NamedTuple):
    """A session that has not ended.

    Attributes:
        session_id: the id of the session.
        timeout_ms: the session timeout in ms.
        peer: the client's address; None if the session has no connection.
        ephemerals: the paths of the session's ephemeral znodes.
        watches: the watches of the session.
        requests: the requests of the session.
    """

    session_id: int
    timeout_ms: int
    peer: str | None
    ephemerals: tuple[str, ...]
    watches: tuple[Watch, ...]
    requests: tuple[SeenRequest, ...]

    def __str__(self) -> str:
        lines = [
            f"session 0x{self.session_id:x}"
            + (f", connected from {self.peer}" if self.peer else ", not connected")
            + f", timeout {self.timeout_ms} ms"
        ]
        lines += [f"  ephemeral {path}" for path in self.ephemerals]
        lines += [f"  {watch}" for watch in self.watches]
        lines += [f"  asked {request}" for request in self.requests[-_SHOWN_REQUESTS:]]
        return "\n".join(lines)


class Inside:
    """The state of a server, and assertions about the state."""

    def __init__(self, thread: LoopThread, network: Network, running: Callable[[], Server]) -> None:
        self._thread = thread
        self._network = network
        self._running = running

    # --- Requests

    def requests(self, who: Who | None = None) -> list[SeenRequest]:
        """Return the requests of all sessions or of one session, in order, without pings."""
        session_id = None if who is None else session_id_of(who)
        seen = self._network.requests.copy()
        return [each for each in seen if session_id in {None, each.session_id}]

    def wait_until_quiet(self, for_s: float = _QUIET_S, timeout_s: float = _WAIT_S) -> None:
        """Return when all requests have replies, all changes are durable, and the server is idle.

        The server is idle if it got no request for ``for_s`` seconds. Pings and the frames that a
        partition holds do not count.

        Raises:
            TimeoutError: the server is not idle after ``timeout_s`` seconds; the message shows the
                last requests.
        """
        try:
            self._thread.run(self._be_quiet(for_s), timeout_s)
        except TimeoutError:
            recent = "\n".join(map(str, self.requests()[-10:])) or "(nothing)"
            raise TimeoutError(
                f"the server is not quiet after {timeout_s:g} s; the last requests:\n{recent}"
            ) from None

    async def _be_quiet(self, for_s: float) -> None:
        loop, network = asyncio.get_running_loop(), self._network
        while True:
            silent_s = loop.time() - network.last_arrival_s
            is_at_rest = all(link.is_at_rest for link in network.links)
            if is_at_rest and self._running().is_durable and silent_s >= for_s:
                return
            await asyncio.sleep(_CHECK_S if not is_at_rest else max(_CHECK_S, for_s - silent_s))

    # --- Sessions, watches and znodes

    def sessions(self) -> list[SessionSeen]:
        """Return the sessions that have not ended, in order of their ids."""
        return self._ask(self._sessions)

    def watches(self, who: Who | None = None) -> list[Watch]:
        """Return the watches of all sessions or of one session, watches on data first."""
        session_id = None if who is None else session_id_of(who)
        return [each for each in self._ask(_watches) if session_id in {None, each.session_id}]

    def ephemerals(self, who: Who | None = None) -> list[str]:
        """Return the sorted paths of the ephemeral znodes of all sessions or of one session."""
        session_id = None if who is None else session_id_of(who)

        def paths(server: Server) -> list[str]:
            owned = server.machine.tree.ephemerals
            owners = owned if session_id is None else [session_id]
            return sorted(path for owner in owners for path in owned.get(owner, ()))

        return self._ask(paths)

    def znode(self, path: str) -> Znode | None:
        """Return the current znode without checking its ACL; None if it does not exist."""
        return self._ask(lambda server: server.machine.tree.find(path))

    def paths(self, below: str = "/") -> list[str]:
        """Return the sorted paths of all znodes below a path, without ZooKeeper's own znodes."""
        prefix = below.rstrip("/") + "/"
        found = self._ask(lambda server: list(server.machine.tree.records))
        return sorted(
            path for path in found if path.startswith(prefix) and path not in paths.SYSTEM_PATHS
        )

    # --- Assertions

    def assert_path(
        self,
        path: str,
        data: bytes | None = None,
        *,
        exists: bool = True,
        ephemeral: bool | None = None,
        children: Collection[str] | None = None,
    ) -> None:
        """Assert that a znode exists, with this data, of this kind, with these children.

        With ``exists=False`` assert that the znode does not exist. An argument that is None is not
        checked.
        """
        __tracebackhide__ = True
        node = self.znode(path)
        if not exists:
            if node is not None:
                raise AssertionError(f"{path} exists, with data {node.data!r}")
            return
        if node is None:
            raise AssertionError(f"{path} does not exist; there are:\n{self._paths_text()}")
        if data is not None and node.data != data:
            raise AssertionError(f"the data of {path} is {node.data!r}, not {data!r}")
        owner = node.stat.ephemeral_owner
        if ephemeral is not None and bool(owner) != ephemeral:
            kind = f"is ephemeral, of session 0x{owner:x}" if owner else "is not ephemeral"
            raise AssertionError(f"{path} {kind}")
        if children is not None and set(node.names) != set(children):
            raise AssertionError(
                f"the children of {path} are {sorted(node.names)}, not {sorted(children)}"
            )

    def assert_no_leaked_sessions(self, *besides: Who) -> None:
        """Assert that no session exists except those of the clients in ``besides``."""
        __tracebackhide__ = True
        kept = {session_id_of(who) for who in besides}
        leaked = [str(each) for each in self.sessions() if each.session_id not in kept]
        if leaked:
            told = "\n".join(leaked)
            raise AssertionError(f"{len(leaked)} sessions are left; stop() their clients:\n{told}")

    def assert_no_watches(self, path: str | None = None) -> None:
        """Assert that no watch exists, or no watch on this path."""
        __tracebackhide__ = True
        left = [str(each) for each in self.watches() if path in {None, each.path}]
        if left:
            told = "\n".join(left)
            raise AssertionError(f"{len(left)} watches are left:\n{told}")

    def _ask(self, look: Callable[[Server], T]) -> T:
        """Call a function with the server, on the server's thread; return its result."""
        return self._thread.call(lambda: look(self._running()))

    def _sessions(self, server: Server) -> list[SessionSeen]:
        machine, network = server.machine, self._network
        watches = _watches(server)
        peers = {link.session_id: link.peer for link in network.links}
        return [
            SessionSeen(
                session_id,
                session.timeout_ms,
                peers.get(session_id),
                tuple(machine.tree.ephemerals_of(session_id)),
                tuple(watch for watch in watches if watch.session_id == session_id),
                tuple(each for each in network.requests if each.session_id == session_id),
            )
            for session_id, session in sorted(machine.sessions.by_id.items())
        ]

    def _paths_text(self) -> str:
        return "\n".join(f"  {path}" for path in self.paths()) or "  (nothing)"


def _watches(server: Server) -> list[Watch]:
    machine = server.machine
    found = []
    for kind, table in (("data", machine.data_watches), ("children", machine.child_watches)):
        for path, watchers in table.by_path.items():
            for watcher, modes in watchers.items():
                session = getattr(watcher, "session", None)
                if session is not None:
                    found.append(Watch(session.session_id, path, kind, WatchMode(modes)))
    return found
