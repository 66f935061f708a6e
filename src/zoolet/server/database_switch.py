"""Replaces the server's database with another database, for the admin command ``restore``.

Invariant: between ``hold_requests`` and the end of the replacement, the server processes no request
and ends no session. Every client with a session is disconnected. A client that reconnects resumes
its session if the new database contains the session, and gets events for the watches that it sets
again, as if all znodes had changed. Apache ZooKeeper keeps the connections and drops their watches
without an event (``ZooKeeperServer.restoreFromSnapshot``).
"""

from collections.abc import Callable, Iterator

from zoolet.server.common.clock import Clock
from zoolet.server.operator.answers import Run
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree

_STEP_ITEMS = 500
_STEP_US = 500


class DatabaseSwitch:
    """The implementation of ``restore.Target`` by the server.

    Attributes:
        fail: stops the server; its argument is the reason.
    """

    def __init__(
        self,
        config: Config,
        processor: RequestProcessor,
        commit: GroupCommit,
        clock: Clock,
        run: Run,
        roll_log: Callable[[], None],
        fail: Callable[[str], None],
    ) -> None:
        self.fail = fail
        self._config = config
        self._processor = processor
        self._commit = commit
        self._clock = clock
        self._run = run
        self._roll_log = roll_log

    @property
    def last_zxid(self) -> int:
        """The zxid of the last txn."""
        return self._processor.machine.zxid

    def hold_requests(self, held: Callable[[], None]) -> None:
        """Stop processing requests and ending sessions; call ``held`` when all txns are on disk.

        Tasks in progress, such as the end of a session in several steps, are completed first.
        """
        self._processor.is_held = True
        self._run("holding requests for a restore", self._wait_until_quiet(held), self._failed)

    def _wait_until_quiet(self, held: Callable[[], None]) -> Iterator[int]:
        # This loop ends, because no new task begins while requests are held.
        while not self._processor.is_quiet:
            yield _STEP_US
        self._commit.when_durable(held)

    def go_on(self) -> None:
        """Process requests again."""
        self._processor.is_held = False
        for connection in tuple(self._processor.connections):
            connection.go_on()

    def replace_database(
        self, tree: Tree, sessions: dict[int, int], zxid: int, done: Callable[[], None]
    ) -> None:
        """Replace the database, close the connections, continue with requests, call ``done``.

        Args:
            tree: the znodes of the new database.
            sessions: the session timeouts in ms, by session id.
            zxid: the zxid of the new database.
            done: called at the end.
        """
        steps = self._replace(tree, sessions, zxid, done)
        self._run("the switch to the restored database", steps, self._failed)

    def _failed(self, error: Exception) -> None:
        self.fail(
            f"the server could not switch to the restored database: {error!r}. Start the server"
            " again: the restored database is on disk."
        )

    def _replace(
        self, tree: Tree, sessions: dict[int, int], zxid: int, done: Callable[[], None]
    ) -> Iterator[int]:
        table = SessionTable(self._config.tick_time_ms)
        timeouts = dict.fromkeys(tree.ephemerals, self._config.min_session_timeout_ms) | sessions
        # A session that owns ephemerals, but is not in the snapshot's list, gets the shortest
        # timeout. When the session expires, its ephemerals are deleted.
        for number, (session_id, timeout_ms) in enumerate(timeouts.items()):
            table.open(session_id, timeout_ms, self._clock.monotonic_ms())
            if number % _STEP_ITEMS == 0:
                yield _STEP_US
        processor = self._processor
        if not self._commit.is_idle or self.last_zxid >= zxid:
            raise AssertionError("a txn was appended while requests were held")
        processor.machine.replace(tree, table, zxid)
        self._commit.synced_zxid = zxid
        self._roll_log()
        processor.local.sessions.database_replaced()
        for number, connection in enumerate(tuple(processor.connections)):
            if connection.session is not None:
                connection.abort()
            if number % _STEP_ITEMS == 0:
                yield _STEP_US
        self.go_on()
        done()
