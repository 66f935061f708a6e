"""The watches of the shell's commands: what is reported once, and what outlives a session."""

import queue
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import (
    AddWatchMode,
    Client,
    ClientOptions,
    CreateMode,
    Event,
    EventType,
    NoNodeError,
    NoWatcherError,
    SessionState,
    WatcherType,
)
from zoolet.shell.watches import Watches, WatchKind
from zoolet.testing import EmbeddedServer


class Shell:
    """A client behind a proxy with its watches, as the shell has them.

    Attributes:
        events: the reported events.
        may_report: is cleared while the output waits.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.proxy = Proxy(server.port)
        options = ClientOptions(session_timeout_ms=20_000, connect_timeout_s=WAIT_S)
        self.client = Client(self.proxy.hosts, options)
        self.connected = threading.Event()
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.may_report = threading.Event()
        self.may_report.set()
        self.client.add_listener(self._note_state)
        self.watches = Watches(self.client, self.connected, self._report)

    def _note_state(self, state: SessionState) -> None:
        if state is SessionState.CONNECTED:
            self.connected.set()
        else:
            self.connected.clear()

    def _report(self, event: Event) -> None:
        assert self.may_report.wait(WAIT_S)
        self.events.put(event)

    def next_event(self) -> tuple[EventType, str]:
        """Wait for an event; return its type and its path."""
        return self.events.get(timeout=WAIT_S)[:2]

    def lose_session(self) -> None:
        """Let the session expire; the client is cut off."""
        self.server.faults.expire(self.client.session_id.id)

    def wait(self) -> None:
        """Wait until the client is connected."""
        assert self.connected.wait(WAIT_S)


@pytest.fixture
def shell() -> Iterator[Shell]:
    with EmbeddedServer() as server:
        made = Shell(server)
        with made.client:
            yield made


@pytest.fixture
def other(shell: Shell) -> Iterator[Client]:
    """A client that is never cut off."""
    with Client(shell.server.hosts) as connected:
        connected.create("/a")
        yield connected


def test_an_event_of_several_watches_is_reported_once(shell: Shell, other: Client) -> None:
    shell.watches.get("/a")
    shell.watches.get("/a")
    shell.watches.exists("/a")
    shell.watches.children("/a")
    shell.watches.add("/a", AddWatchMode.PERSISTENT)
    other.delete("/a")
    assert shell.next_event() == (EventType.NODE_DELETED, "/a")
    other.create("/a")
    assert shell.next_event() == (EventType.NODE_CREATED, "/a")
    other.set("/a", b"1")
    other.set("/a", b"2")
    assert shell.next_event() == shell.next_event() == (EventType.NODE_DATA_CHANGED, "/a")
    shell.client.sync("/a")
    shell.watches.let_events_come()
    assert shell.events.empty()


def test_a_watch_that_was_not_set_is_not_there(shell: Shell) -> None:
    with pytest.raises(NoNodeError):
        shell.watches.get("/missing")
    with pytest.raises(NoWatcherError):
        shell.watches.remove("/missing", WatcherType.ANY, locally=False)


def test_the_client_works_while_the_output_waits(shell: Shell, other: Client) -> None:
    """A user may read a page for a long time."""
    shell.watches.add("/a", AddWatchMode.PERSISTENT)
    shell.may_report.clear()
    for number in range(10):
        other.set("/a", b"%d" % number)
    for _ in range(3):
        assert shell.client.get("/a", timeout_s=WAIT_S).stat.version == 10
    assert shell.events.empty()
    shell.may_report.set()
    shell.watches.let_events_come()
    assert shell.events.qsize() == 10


@pytest.mark.parametrize("watcher_type", [WatcherType.ANY, WatcherType.DATA])
def test_watches_are_removed_without_a_connection(
    shell: Shell, other: Client, watcher_type: WatcherType
) -> None:
    shell.watches.get("/a")
    shell.watches.add("/a", AddWatchMode.PERSISTENT_RECURSIVE)
    with shell.proxy.cut_off():
        wait_until(lambda: not shell.connected.is_set(), "the connection is lost")
        kinds = shell.watches.remove("/a", watcher_type, locally=True)
    assert kinds == (
        {WatchKind.DATA}
        if watcher_type is WatcherType.DATA
        else {WatchKind.DATA, WatchKind.RECURSIVE}
    )
    shell.wait()
    shell.client.sync("/a")  # the server has set the watches again before it replies
    other.set("/a", b"changed")
    shell.client.sync("/a")
    shell.watches.let_events_come()
    assert shell.events.qsize() == (1 if watcher_type is WatcherType.DATA else 0)


def change(client: Client, path: str, kind: EventType) -> None:
    """Make a change whose event has this type."""
    if kind is EventType.NODE_CREATED:
        client.create(path)
    elif kind is EventType.NODE_DELETED:
        client.delete(path)
    elif kind is EventType.NODE_DATA_CHANGED:
        client.set(path, b"changed")
    else:
        client.create(f"{path}/child-", mode=CreateMode.PERSISTENT_SEQUENTIAL)


def test_one_shot_watches_outlive_any_faults() -> None:
    """The model: each watch is reported once, with the type of the first change after it was set.

    In a renewed session the type says how the znode differs from what was seen.
    """
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with EmbeddedServer() as server, Client(server.hosts) as other:
        shell = Shell(server)
        with shell.client:
            for number in range(30):
                check_one_watch(shell, other, f"/n{number}", chance)
            assert shell.events.empty()


def check_one_watch(shell: Shell, other: Client, path: str, chance: random.Random) -> None:
    """Set a watch, make faults and one change, and expect its event."""
    kinds: dict[EventType, Any] = {
        EventType.NODE_CREATED: shell.watches.exists,
        EventType.NODE_DELETED: chance.choice([shell.watches.get, shell.watches.children]),
        EventType.NODE_DATA_CHANGED: chance.choice([shell.watches.get, shell.watches.exists]),
        EventType.NODE_CHILDREN_CHANGED: shell.watches.children,
    }
    kind, watch = chance.choice(list(kinds.items()))
    if kind is not EventType.NODE_CREATED:
        other.create(path)
        if chance.random() < 0.5:
            other.set(path, b"older")
    shell.wait()
    watch(path)
    changes_at = chance.randrange(4)
    for step in range(4):
        if step == changes_at == 3:
            change(other, path, kind)
            break
        with shell.proxy.cut_off():
            wait_until(lambda: not shell.connected.is_set(), "the connection is lost")
            if chance.random() < 0.6:
                shell.lose_session()
            if step == changes_at:
                change(other, path, kind)
        shell.wait()
        if step == changes_at:
            break
    assert shell.next_event() == (kind, path)
    shell.watches.let_events_come()
