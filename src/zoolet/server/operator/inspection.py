"""The state of a running server that operators can inspect, as plain values.

The four-letter words, the admin endpoint and the metrics show these values. Their code must wait
until the state is on disk (``GroupCommit.when_durable``) before it shows a value.

Long results are generators: each ``next`` does little work, and the state may change between two
of them. A generator copies the keys of a table, 8 bytes each, but not the values. An item that
exists from the beginning to the end is shown exactly one time; an item that is created or deleted
in between may be missing. None is a pause, in which no item is shown.

Values that are read from the operating system can fail with OSError, which the caller must handle.

Source of the names: Apache ZooKeeper's ``ServerCnxn``, ``ServerStats``, ``ZooKeeperServer`` and
``ServerMetrics``.
"""

import contextlib
import os
from collections.abc import Collection, Generator, Iterator, Mapping
from pathlib import Path
from typing import Protocol, cast

from zoolet.model.build import KIND
from zoolet.model.codes import OpCode, WatchMode
from zoolet.process.user import user_name
from zoolet.server.common.ensemble_view import EnsembleView
from zoolet.server.common.samples import Sample
from zoolet.server.common.stats import ConnectionStats, ServerStats
from zoolet.server.operator.version import FULL_VERSION
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import Session
from zoolet.state_machine.watches import Watcher, WatchTable
from zoolet.storage.files import DataDirectories, by_zxid

DEFAULT_TRACE_MASK = 306

NOBODY = Watcher()
"""The watcher that ``_matches`` yields for a pause."""

_OPERATIONS = {
    OpCode.PING: "PING",
    OpCode.CREATE_SESSION: "SESS",
    OpCode.MULTI: "MULT",
    OpCode.MULTI_READ: "MLTR",
    OpCode.CREATE: "CREA",
    OpCode.CREATE2: "CREA",
    OpCode.CREATE_TTL: "CREA",
    OpCode.CREATE_CONTAINER: "CREA",
    OpCode.DELETE: "DELE",
    OpCode.SET_DATA: "SETD",
    OpCode.RECONFIG: "RECO",
    OpCode.SET_ACL: "SETA",
    OpCode.CLOSE_SESSION: "CLOS",
    OpCode.SYNC: "SYNC",
    OpCode.EXISTS: "EXIS",
    OpCode.GET_DATA: "GETD",
    OpCode.SET_WATCHES: "SETW",
    OpCode.SET_WATCHES2: "STW2",
    OpCode.ADD_WATCH: "ADDW",
    OpCode.GET_ACL: "GETA",
    OpCode.GET_CHILDREN: "GETC",
    OpCode.GET_CHILDREN2: "GETC",
    OpCode.GET_ALL_CHILDREN_NUMBER: "GETACN",
    OpCode.CHECK_WATCHES: "CHKW",
    OpCode.REMOVE_WATCHES: "REMW",
    OpCode.WHO_AM_I: "HOMI",
    OpCode.GET_EPHEMERALS: "GETE",
}
"""Apache ZooKeeper's names for a connection's last request (``FinalRequestProcessor``)."""


class Client(Protocol):
    """The properties of a connection that can be inspected."""

    address: str
    session: Session | None
    stats: ConnectionStats
    established_ms: int
    is_secure: bool

    @property
    def peer(self) -> str:
        """The address and port of the client, as logs show them."""

    @property
    def takes_requests(self) -> bool:
        """Whether the server may process the next request of the connection."""
        ...


class Subject(Protocol):
    """The properties of a server that can be inspected."""

    machine: StateMachine
    stats: ServerStats
    ensemble: EnsembleView | None

    @property
    def connections(self) -> Collection[Client]:
        """The open connections."""
        ...

    @property
    def outstanding_requests(self) -> int:
        """The number of replies that wait for the disk."""
        ...

    @property
    def now_ms(self) -> int:
        """The current time of the monotonic clock in ms."""
        ...

    def outstanding_by_connection(self) -> Mapping[Client, int]:
        """Return the number of replies that wait for the disk, for each connection with any."""
        ...

    def recent_samples(self) -> tuple[list[Sample], float, int]:
        """Return the samples of the last minute, the seconds that they cover, and the gap."""
        ...

    def wall_ms_of(self, monotonic_ms: int) -> int:
        """Return a time of the monotonic clock as milliseconds since the epoch."""
        ...


class Inspector:
    """Provides the state of a server.

    Attributes:
        config: the configuration of the server.
        stats: the counters of the server.
        trace_mask: the mask that ``stmk`` sets; it has no effect.
    """

    def __init__(self, config: Config, subject: Subject, started_ms: int) -> None:
        """Inspect ``subject``, which started at ``started_ms`` of the monotonic clock."""
        self.config = config
        self.stats = subject.stats
        self.trace_mask = DEFAULT_TRACE_MASK
        self._subject = subject
        self._started_ms = started_ms
        self._busiest: tuple[int, dict[str, object]] | None = None

    # --- The server

    def configuration(self) -> Generator[None, None, dict[str, object]]:
        """Return the settings that ``conf`` shows, by their keys in zoo.cfg."""
        config, directories = self.config, self._directories()
        snapshots, logs = (path.absolute() for path in directories)
        snapshots_size = yield from size_of(snapshots)
        logs_size = yield from size_of(logs)
        found: dict[str, object] = {
            "clientPort": config.client_port,
            "secureClientPort": config.secure_client_port,
            "dataDir": str(snapshots),
            "dataDirSize": snapshots_size,
            "dataLogDir": str(logs),
            "dataLogSize": logs_size,
            "tickTime": config.tick_time_ms,
            "maxClientCnxns": config.max_connections_per_address,
            "minSessionTimeout": config.min_session_timeout_ms,
            "maxSessionTimeout": config.max_session_timeout_ms,
            "clientPortListenBacklog": config.listen_backlog,
            "serverId": 0,
        }
        observer = config.observer
        if observer is not None:
            # Apache ZooKeeper shows 1 for an observer (``QuorumPeer.LearnerType``).
            found |= {
                "serverId": observer.my_id,
                "initLimit": observer.init_limit_ms // config.tick_time_ms,
                "syncLimit": observer.sync_limit_ms // config.tick_time_ms,
                "peerType": 1,
            }
        return found

    def directory_sizes(self) -> Generator[None, None, dict[str, int]]:
        """Return the size of the files in the snapshot and log directories, in bytes."""
        directories = self._directories()
        snapshots_size = yield from size_of(directories.snapshots)
        logs_size = yield from size_of(directories.logs)
        return {"datadir_size": snapshots_size, "logdir_size": logs_size}

    def last_snapshot(self) -> tuple[int, int]:
        """Return the zxid of the newest snapshot and the time of its file, in s since the epoch.

        Both are -1 if no snapshot exists. Ignores a snapshot that is removed in the meantime.
        """
        directory = self._directories().snapshots
        for zxid, name in reversed(
            by_zxid([path.name for path in directory.iterdir()], "snapshot")
        ):
            with contextlib.suppress(FileNotFoundError):
                return zxid, int((directory / name).stat().st_mtime)
        return -1, -1

    def _directories(self) -> DataDirectories:
        return DataDirectories.of(self.config.data_dir, self.config.data_log_dir)

    @staticmethod
    def environment() -> dict[str, str]:
        """Return the environment of the server; clients use its ``zookeeper.version``."""
        import platform  # noqa: PLC0415 -- an empty server does not need it

        system = platform.uname()
        return {
            "zookeeper.version": FULL_VERSION,
            "host.name": system.node,
            "python.version": platform.python_version(),
            "python.implementation": platform.python_implementation(),
            "zoolet.build": KIND,
            "os.name": system.system,
            "os.arch": system.machine,
            "os.version": system.release,
            "user.name": user_name(),
            "user.dir": _working_directory(),
        }

    @property
    def uptime_ms(self) -> int:
        """The time since the server started, in ms."""
        return self._subject.now_ms - self._started_ms

    @property
    def ensemble(self) -> EnsembleView | None:
        """What an observer knows about its ensemble; None if the server is standalone."""
        return self._subject.ensemble

    @property
    def mode(self) -> str:
        """The mode of the server: ``standalone``, ``observer`` or ``read-only``."""
        ensemble = self._subject.ensemble
        return "standalone" if ensemble is None else ensemble.mode

    @property
    def is_read_only(self) -> bool:
        """Whether the server serves only read-only clients."""
        ensemble = self._subject.ensemble
        return ensemble is not None and ensemble.is_read_only

    @property
    def lag(self) -> int:
        """The number of zxids that an observer is behind its leader, as far as it knows."""
        ensemble = self._subject.ensemble
        return 0 if ensemble is None else ensemble.lag(self.zxid)

    @property
    def zxid(self) -> int:
        """The zxid of the last txn."""
        return self._subject.machine.zxid

    @property
    def num_connections(self) -> int:
        """The number of open connections."""
        return len(self._subject.connections)

    @property
    def num_sessions(self) -> int:
        """The number of sessions."""
        return len(self._subject.machine.sessions)

    @property
    def num_watches(self) -> int:
        """The number of pairs of a path and a watcher."""
        machine = self._subject.machine
        return len(machine.data_watches) + len(machine.child_watches)

    @property
    def num_ephemerals(self) -> int:
        """The number of ephemeral znodes."""
        return sum(map(len, self._subject.machine.tree.ephemerals.values()))

    @property
    def outstanding_requests(self) -> int:
        """The number of replies that wait for the disk."""
        return self._subject.outstanding_requests

    @property
    def znode_count(self) -> int:
        """The number of znodes; as in Apache ZooKeeper, the root counts twice."""
        return len(self._subject.machine.tree) + 1

    @property
    def tree_size_bytes(self) -> int:
        """The size of all paths and their data in bytes."""
        return self._subject.machine.tree.size_bytes

    # --- Connections and sessions

    def connections(self, *, secure: bool | None = None) -> Iterator[dict[str, object] | None]:
        """Yield the figures of each connection; those of its session only if it has a session.

        ``secure`` selects the connections with TLS (True) or without TLS (False); None selects all.
        """
        outstanding = self._subject.outstanding_by_connection()
        for connection in tuple(self._subject.connections):
            if secure is not None and connection.is_secure != secure:
                yield None
                continue
            stats = connection.stats
            shown: dict[str, object] = {
                "remote_socket_address": connection.peer,
                "interest_ops": int(connection.takes_requests),
                "outstanding_requests": outstanding.get(connection, 0),
                "packets_received": stats.packets_received,
                "packets_sent": stats.packets_sent,
            }
            if connection.session is not None:
                shown |= self._of_session(connection, connection.session)
            yield shown

    def _of_session(self, connection: Client, session: Session) -> dict[str, object]:
        stats = connection.stats
        operation = _OPERATIONS.get(cast("OpCode", stats.last_op_code), "NA")
        return {
            "session_id": session.session_id,
            "last_operation": operation,
            "established": self._subject.wall_ms_of(connection.established_ms),
            "session_timeout": session.timeout_ms,
            "last_cxid": stats.last_cxid,
            "last_zxid": stats.last_zxid,
            "last_response_time": stats.last_response_ms,
            "last_latency": stats.last_ms,
            "min_latency": stats.min_ms,
            "avg_latency": int(stats.average_ms),
            "max_latency": stats.max_ms,
        }

    def reset_connections(self) -> Generator[None, None, None]:
        """Set the counts of each connection to 0."""
        for connection in tuple(self._subject.connections):
            connection.stats = ConnectionStats()
            yield None

    def busiest(self) -> Generator[None, None, dict[str, object]]:
        """Return the busiest clients, paths and operations of the last minute, as estimates.

        The answer may be a second old: otherwise, frequent questions would slow the server down.
        """
        from zoolet.server.operator.busiest import busiest  # noqa: PLC0415 -- rarely asked

        second = self._subject.now_ms // 1000
        if self._busiest is None or self._busiest[0] != second:
            found = yield from busiest(*self._subject.recent_samples())
            self._busiest = (second, found)
        return self._busiest[1]

    def sessions_by_expiry(self) -> Generator[None, None, dict[int, list[int]]]:
        """Return session ids by the end of the tick in which they expire, in ms since the epoch."""
        subject, tick_ms = self._subject, self.config.tick_time_ms
        found: dict[int, list[int]] = {}
        for session in tuple(subject.machine.sessions.by_id.values()):
            at_ms = (session.expires_at_ms // tick_ms + 1) * tick_ms
            found.setdefault(at_ms, []).append(session.session_id)
            yield None
        return {subject.wall_ms_of(at_ms): found[at_ms] for at_ms in sorted(found)}

    def sessions_with_ephemerals(self) -> tuple[int, ...]:
        """Return the ids of the sessions that have ephemerals."""
        return tuple(self._subject.machine.tree.ephemerals)

    def ephemerals_of(self, session_id: int) -> Iterator[str]:
        """Yield the paths of a session's ephemerals."""
        yield from tuple(self._subject.machine.tree.ephemerals.get(session_id, ()))

    # --- Watches: as in Apache ZooKeeper, only watches on data

    def watches_by_session(self) -> Iterator[tuple[int, Iterator[str]]]:
        """Yield the id of each session that has watches, and the paths that it watches."""
        watches = self._subject.machine.data_watches
        for watcher in tuple(watches.by_watcher):
            yield _session_id(watcher), _keys(watches.by_watcher.get(watcher))

    def watches_by_path(self) -> Iterator[tuple[str, Iterator[int]] | None]:
        """Yield each watched path, and the ids of the sessions that watch it."""
        watches = self._subject.machine.data_watches
        for path in tuple(watches.by_path):
            watchers = watches.by_path.get(path)
            if watchers is None:
                yield None
            else:
                yield path, map(_session_id, tuple(watchers))

    def watch_details(
        self, path: str | None, session_id: int | None, address: str | None
    ) -> Iterator[dict[str, object] | None]:
        """Yield each watch on data or on children that matches all arguments; None matches all.

        A ``path`` that ends with ``/*`` also matches all paths below it.
        """
        machine = self._subject.machine
        for kind, watches in (("data", machine.data_watches), ("child", machine.child_watches)):
            for watched, watcher, modes in _matches(watches, path):
                client = cast("Client", watcher)
                if (
                    modes == 0
                    or (session_id is not None and _session_id(watcher) != session_id)
                    or (address is not None and client.address != address)
                ):
                    yield None
                    continue
                yield {
                    "path": watched,
                    "kind": kind,
                    "modes": [str(mode.name).lower() for mode in WatchMode if modes & mode],
                    "session_id": _session_id(watcher),
                    "remote_socket_address": client.peer,
                }

    def watch_summary(self) -> dict[str, int]:
        """Return the numbers of watching connections, of watched paths and of watches."""
        watches = self._subject.machine.data_watches
        return {
            "num_connections": len(watches.by_watcher),
            "num_paths": len(watches.by_path),
            "num_total_watches": len(watches),
        }


def _keys(table: Mapping[str, object] | None) -> Iterator[str]:
    """Yield the keys that a table has when the first key is requested."""
    yield from tuple(table or ())


def _matches(watches: WatchTable, path: str | None) -> Iterator[tuple[str, Watcher, int]]:
    """Yield the path, watcher and modes of each watch on ``path``; the modes are 0 in a pause."""
    if path is None or path.endswith("/*"):
        prefix = "" if path is None else path[:-1]
        wanted: Iterator[str] = _keys(watches.by_path)
    else:
        prefix, wanted = path, iter((path,))
    for watched in wanted:
        below = watched.startswith(prefix) or watched + "/" == prefix
        watchers = watches.by_path.get(watched, {}) if below else {}
        yield watched, NOBODY, 0
        for watcher in tuple(watchers):
            yield watched, watcher, watchers.get(watcher, 0)


def size_of(directory: Path) -> Generator[None, None, int]:
    """Return the size of the files in a directory, in bytes.

    A file that is removed in the meantime counts as 0 bytes.
    """
    size_bytes = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file():
                    size_bytes += entry.stat().st_size
            yield None
    return size_bytes


def _session_id(watcher: object) -> int:
    session = cast("Client", watcher).session
    return 0 if session is None else session.session_id


def _working_directory() -> str:
    """Return the working directory; "" if the directory was removed."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""
