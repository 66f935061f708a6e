"""Random calls, watches and faults on a client's session, with a simple server and a simple model.

A seed decides about everything. Faults are lost connections, cut bytes, delays, invalid bytes,
expired sessions, and calls that the program drops or whose time is over. The model is below.
"""

import random
from collections.abc import Callable, Iterator

import pytest

from tests.support.client_peer import untyped
from tests.support.fake_zookeeper import (
    CHILDREN,
    Connection,
    FakeZooKeeper,
)
from zoolet.client.errors import (
    ClientClosedError,
    ConnectionLossError,
    DeadlineError,
    NoNodeError,
    ProtocolError,
    SessionExpiredError,
)
from zoolet.client.protocol.calls import DROPPED, ENDED, Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.session import ClientSession, Outcome
from zoolet.client.protocol.states import ENDED as ENDED_STATES
from zoolet.client.protocol.states import SERVED, SessionState
from zoolet.client.protocol.watches import Notice, Resynced
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import AddWatchMode, CreateMode, EventType, OpCode, WatcherType
from zoolet.model.paths import parent_of
from zoolet.model.results import Children, Created, Event, ZnodeData
from zoolet.model.stat import Stat
from zoolet.wire.frames import encode_reply

ROOT = "/app"
NAMES = ("a", "b", "c")
CHANGES = (OpCode.CREATE, OpCode.SET_DATA, OpCode.DELETE)
STEPS = 400
INVALID = (
    b"\xff\xff\xff\xff",
    encode_reply((1 << 31) - 1, 1 << 62, 0),
    encode_reply(-8, 1 << 62, -6),
    encode_reply(-1, 1 << 62, 0, b"\0\0\0\1"),
    b"\0\0\0\3abc",
)


class Watch:
    """A watch, and what the program knows of it.

    Attributes:
        path: the watched path on the server.
        kind: ``data``, ``child``, ``persistent`` or ``recursive``.
        is_set: whether the program knows that the watch is set.
        is_over: whether the program gets no notice any more.
        is_uncertain: whether the program may have removed it.
        shown: for a one-shot watch, the zxid of what its reply showed; 0 if there was no znode.
        seen_zxid: for a persistent watch, the zxid after which it gets every change.
        events: the events since ``seen_zxid``.
    """

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self.kind = kind
        self.is_set = self.is_over = self.is_uncertain = False
        self.shown = self.seen_zxid = 0
        self.events: list[Event] = []

    @property
    def is_one_shot(self) -> bool:
        return self.kind in {"data", "child"}

    def covers(self, event_type: EventType, path: str) -> bool:
        """Return whether a persistent watch gets an event."""
        if self.kind == "persistent":
            return path == self.path
        return event_type is not CHILDREN and self.path in {path, parent_of(path)}


class World:
    """A session, a server, the bytes on the way, and the model of what the program has seen."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.story: list[str] = []
        self.chroot = self.chance.choice(["", ROOT])
        self.server = FakeZooKeeper(ROOT)
        self.rates = self.chance.choice([(0.3, 0.1), (2, 0.0), (2, 1)])
        window = self.chance.choice([1, 100, 1 << 20])
        self.renews = self.chance.random() < 0.5
        self.session = ClientSession(
            9000, chroot=self.chroot, max_outstanding_bytes=window, renews=self.renews
        )
        self.make = RequestMaker(self.chroot)
        self.link: Connection | None = None
        self.to_server = b""
        self.calls: list[Call[object]] = []
        self.ends: dict[int, int] = {}
        self.watches: dict[int, Watch] = {}
        self.all_watches: list[Watch] = []
        self.logins: list[bytes] = []
        self.newest_zxid = 0
        self.last_replied = -1
        self.sent_order: dict[int, int] = {}

    # The program.

    def path(self) -> str:
        return ("" if self.chroot else ROOT) + "/" + self.chance.choice(NAMES)

    def full(self, shown: str) -> str:
        return self.chroot + shown if shown != "/" else self.chroot or shown

    def watch(self, path: str, kind: str) -> tuple[Watch, Callable[[Event | Resynced], None]]:
        watch = Watch(self.full(path), kind)
        self.all_watches.append(watch)
        return watch, lambda what: self.note(watch, what)

    def start_call(self) -> None:
        chance, make, path = self.chance, self.make, self.path()
        base = "/" if self.chroot else ROOT
        data, notify_data = self.watch(path, "data")
        child, notify_child = self.watch(base, "child")
        kind = chance.choice(["persistent", "recursive"])
        lasting_path = chance.choice([path, base])
        lasting, notify_lasting = self.watch(lasting_path, kind)
        mode = AddWatchMode["PERSISTENT_RECURSIVE" if kind == "recursive" else "PERSISTENT"]
        calls: list[Callable[[], tuple[Call[object], Watch | None]]] = [
            lambda: (untyped(make.get(path)), None),
            lambda: (untyped(make.get(path, notify_data)), data),
            lambda: (untyped(make.exists(path, notify_data)), data),
            lambda: (untyped(make.children(base, notify_child)), child),
            lambda: (untyped(make.add_watch(lasting_path, mode, notify_lasting)), lasting),
            lambda: (untyped(make.set(path, b"", -1)), None),
            lambda: (untyped(make.create(path, b"", CreateMode.PERSISTENT, OPEN_ACL, 0)), None),
            lambda: (untyped(make.delete(path, -1)), None),
            lambda: (untyped(make.remove_watches(path, WatcherType.ANY)), None),
        ]
        call, watch = chance.choice(calls)()
        self.begin(call, watch)

    def begin(self, call: Call[object], watch: Watch | None = None) -> None:
        self.calls.append(call)
        self.ends[id(call)] = 0
        if watch is not None:
            self.watches[id(call)] = watch
        waits = self.renews and self.session.state is SessionState.EXPIRED
        if not self.session.start(call):
            assert self.session.state in ENDED_STATES
            assert not waits, "a call fails although another session follows"
            self.ends[id(call)] = 1

    def log_in(self) -> None:
        call = untyped(self.make.login())
        self.calls.append(call)
        self.ends[id(call)] = 0
        credential = b"wrong" if self.chance.random() < 0.01 else b"%d" % len(self.logins)
        if self.session.login(call, "digest", credential):
            self.logins.append(credential)
        else:
            self.ends[id(call)] = 1

    def give_up(self) -> None:
        open_calls = [call for call in self.calls if call.phase < ENDED]
        if not open_calls:
            return
        call = self.chance.choice(open_calls)
        if self.chance.random() < 0.5:
            was_waiting = self.session.drop(call)
            assert not (was_waiting and call.xid in self.server.seen)
        else:
            self.session.expire(call)
            assert isinstance(call.error, DeadlineError)
            self.ends[id(call)] += 1
        if call.removes is not None:
            for watch in self.all_watches:
                watch.is_uncertain = watch.is_uncertain or watch.path == call.removes[0]

    # The network.

    def connect(self) -> None:
        if self.session.state is SessionState.EXPIRED:
            self.deliver(self.session.renew())
        if self.link is None and self.session.state not in ENDED_STATES:
            self.link = self.server.connect()
            self.to_server = b""
            self.last_replied = -1
            self.sent_order.clear()
            assert self.session.last_zxid >= self.newest_zxid
            self.session.connected()

    def cut_off(self) -> None:
        """Lose the connection: a part of the bytes gets through."""
        self.carry_to_server(self.cut())
        self.carry_to_client(self.cut())
        self.disconnect()

    def disconnect(self) -> None:
        if self.link is not None:
            self.link.is_closed = True
            self.link = None
            self.deliver(self.session.disconnected())
            assert self.session.outstanding_bytes == 0

    def send(self) -> None:
        if self.link is None:
            return
        data = self.session.data_to_send()
        self.to_server += data
        for call in self.calls:
            if call.phase == 1 and call.op_code != OpCode.AUTH:
                self.sent_order.setdefault(id(call), len(self.sent_order))

    def carry_to_server(self, count: int) -> None:
        if self.link is not None:
            self.link.receive(self.to_server[:count])
            self.to_server = self.to_server[count:]

    def carry_to_client(self, count: int, behind: bytes = b"") -> None:
        link = self.link
        if link is None:
            return
        data, link.out = link.out[:count] + behind, link.out[count:]
        try:
            outcomes = self.session.receive(data)
        except ProtocolError:
            self.disconnect()
        else:
            self.deliver(outcomes)
            if link.is_closed and not link.out:
                self.disconnect()

    # The model.

    def deliver(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Call):
                self.end(outcome)
            elif isinstance(outcome, Notice):
                outcome.watcher.notify(outcome.what)
            else:
                self.story.append(f"  {outcome}")

    def end(self, call: Call[object]) -> None:
        self.story.append(f"  end of {call.xid} {OpCode(call.op_code).name} {call.error!r}")
        self.ends[id(call)] += 1
        assert call.phase == ENDED
        if isinstance(call.error, SessionExpiredError | ClientClosedError):
            assert call.xid not in self.server.seen, "an applied call is reported as not applied"
        if call.op_code in (OpCode.AUTH, OpCode.CLOSE_SESSION):
            return
        is_missing = isinstance(call.error, NoNodeError)
        if call.error is not None and not is_missing:
            return
        if not isinstance(call.error, ConnectionLossError) and id(call) in self.sent_order:
            assert self.sent_order[id(call)] > self.last_replied, "replies in another order"
            self.last_replied = self.sent_order[id(call)]
        self.newest_zxid = max(self.newest_zxid, self.server.zxid_of_reply[call.xid])
        self.check_shown(call, is_missing)
        watch = self.watches.get(id(call))
        if watch is not None and call.error is None:
            watch.is_set = True
            watch.shown = self.shown(call)
            watch.seen_zxid = self.server.zxid_of_reply[call.xid]
        if call.removes is not None and call.error is None:
            for one in self.all_watches:
                one.is_over = one.is_over or (one.is_set and one.path == call.removes[0])

    @staticmethod
    def shown(call: Call[object]) -> int:
        """Return the zxid of what a reply shows; 0 if it shows that there is no znode."""
        result = call.result
        if isinstance(result, Children):
            return result.stat.pzxid
        if isinstance(result, ZnodeData | Created):
            return result.stat.mzxid
        return result.mzxid if isinstance(result, Stat) else 0

    def check_shown(self, call: Call[object], is_missing: bool) -> None:
        """Check that the events of all changes that a reply shows were delivered before it."""
        is_read = call.op_code in (OpCode.GET_DATA, OpCode.EXISTS, OpCode.GET_CHILDREN2)
        if not is_read and not isinstance(call.result, Stat | Created):
            return
        path, shown = self.full(call.path), self.shown(call)
        kind = "child" if call.op_code == OpCode.GET_CHILDREN2 else "data"
        assert not is_missing or shown == 0
        for watch in self.live_watches():
            if watch.is_one_shot:
                if (watch.kind, watch.path) == (kind, path):
                    assert watch.shown == shown, f"no event before the reply to {call.xid}"
            elif kind == "data" and watch.covers(EventType.NODE_DATA_CHANGED, path):
                last_zxid = watch.events[-1].zxid if watch.events else watch.seen_zxid
                assert last_zxid >= shown, f"no event before the reply to {call.xid}"

    def live_watches(self) -> Iterator[Watch]:
        for watch in self.all_watches:
            if watch.is_set and not watch.is_over and not watch.is_uncertain:
                yield watch

    def note(self, watch: Watch, what: Event | Resynced) -> None:
        self.story.append(f"  {watch.kind} watch on {watch.path}: {what}")
        assert watch.is_set, "a notice before the reply that sets the watch"
        assert not watch.is_over, "a notice for a watch that is over"
        assert self.full(what.path) in {watch.path, *(f"{watch.path}/{name}" for name in NAMES)}
        if isinstance(what, Event):
            self.newest_zxid = max(self.newest_zxid, what.zxid)
        if watch.is_one_shot:
            watch.is_over = True
            changes = [path for zxid, _, path in self.server.history if zxid > watch.seen_zxid]
            assert isinstance(what, Resynced) or watch.path in changes, "an event without a change"
        elif isinstance(what, Event):
            if what.zxid != -1:  # -1: setWatches sent it for a one-shot watch on the same path
                watch.events.append(what)
                self.check_complete(watch, is_end=False)
        else:
            assert self.server.connection is not None
            watch.seen_zxid = self.server.connection.watches_set_zxid
            watch.events.clear()

    def check_complete(self, watch: Watch, *, is_end: bool) -> None:
        """Check that the events of a persistent watch are those of the history, without gaps."""
        expected = [
            (event_type, path, zxid)
            for zxid, event_type, path in self.server.history
            if zxid > watch.seen_zxid and watch.covers(event_type, path)
        ]
        found = [(event.type, self.full(event.path), event.zxid) for event in watch.events]
        assert found == (expected if is_end else expected[: len(found)])

    # A run.

    def step(self) -> None:
        chance = self.chance
        often, seldom = self.rates
        steps: list[tuple[float, str, Callable[[], object]]] = [
            (30, "call", self.start_call),
            (3, "login", self.log_in),
            (6, "give up", self.give_up),
            (12, "connect", self.connect),
            (often, "cut", self.cut_off),
            (25, "send", self.send),
            (25, "to server", lambda: self.carry_to_server(self.cut())),
            (25, "to client", lambda: self.carry_to_client(self.cut())),
            (often, "invalid", lambda: self.carry_to_client(1 << 20, chance.choice(INVALID))),
            (12, "change", self.change),
            (seldom, "expire", self.expire),
            (2, "ping", self.session.ping),
        ]
        _, name, act = chance.choices(steps, [weight for weight, _, _ in steps])[0]
        self.story.append(name)
        act()

    def cut(self) -> int:
        """Return how many bytes get through."""
        return self.chance.randrange(self.chance.choice([20, 100, 300, 5000]))

    def change(self) -> None:
        kinds = [(self.chance.choice(CHANGES), f"{ROOT}/{name}") for name in NAMES]
        self.server.change(self.chance.sample(kinds, self.chance.randint(1, len(kinds))))

    def expire(self) -> None:
        self.server.sessions.clear()
        if self.link is not None:
            self.link.is_closed = True

    def settle(self) -> None:
        """Let everything end that can end, without faults."""
        self.disconnect()
        for _ in range(len(self.calls) + 10):
            if self.session.state in {SessionState.AUTH_FAILED, SessionState.CLOSED}:
                return
            self.connect()
            self.send()
            self.carry_to_server(1 << 20)
            self.carry_to_client(1 << 20)
        assert self.session.state in SERVED

    def check_end(self) -> None:
        assert self.session.outstanding_bytes == 0
        assert not self.session.has_outstanding
        for call in self.calls:
            assert self.ends[id(call)] == (0 if call.phase == DROPPED else 1), call.xid
        seen = self.server.seen
        assert len(seen) == len(set(seen)), "a call was sent twice"
        if self.session.state not in SERVED:
            return
        assert self.link is not None
        assert self.link.logins == self.logins
        for watch in self.live_watches():
            if watch.is_one_shot:
                stat = self.server.stat(watch.path)
                zxid = 0 if stat is None else stat.pzxid if watch.kind == "child" else stat.mzxid
                assert zxid == watch.shown, f"the event of {watch.path} is lost"
            else:
                self.check_complete(watch, is_end=True)

    def run(self) -> None:
        for _ in range(STEPS):
            self.step()
        end = self.chance.choice(["settle", "settle and close", "close"])
        if end != "close":
            self.settle()
            self.check_end()
        if end != "settle":
            self.close()

    def close(self) -> None:
        """Close the session, with faults; then every call ends."""
        for _ in range(5):
            self.start_call()
        self.connect()
        self.send()
        self.carry_to_server(self.cut())
        call = untyped(self.make.close())
        self.calls.append(call)
        self.ends[id(call)] = 0
        self.deliver(self.session.close(call))
        self.send()
        self.cut_off()
        assert self.session.state is SessionState.CLOSED
        assert not self.session.has_outstanding
        for one in self.calls:
            assert self.ends[id(one)] == (0 if one.phase == DROPPED else 1), one.xid


@pytest.mark.parametrize("first", range(0, 400, 50))
def test_each_call_ends_once_and_no_event_is_lost(first: int) -> None:
    for seed in range(first, first + 50):
        world = World(seed)
        try:
            world.run()
        except BaseException as error:
            story = "\n".join(world.story[-60:])
            raise AssertionError(f"World({seed}).run(): {error!r} after\n{story}") from error


def test_the_faults_happen() -> None:
    """A run in which nothing fails would prove nothing."""
    worlds = [World(seed) for seed in range(100)]
    for world in worlds:
        world.run()
    story = "\n".join(line for world in worlds for line in world.story)
    for wanted in (
        "SUSPENDED",
        "EXPIRED",
        "AUTH_FAILED",
        "ConnectionLossError",
        "SessionExpiredError",
        "NoNodeError",
        "NoWatcherError",
        "persistent watch on /app/a: Resynced",
        "data watch on /app/a: Resynced",
        "recursive watch on /app: Event",
        "child watch on /app: Event",
    ):
        assert wanted in story, wanted
