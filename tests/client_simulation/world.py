"""What the worlds of both clients share: the ensemble, its faults, other clients, and the program.

A seed decides about everything. First there are faults, then the network heals, and the client must
be served again.
"""

import contextlib
import itertools
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest import mock

from tests.client_simulation.clock import Clock, Network
from tests.client_simulation.ensemble import MEMBERS, SLOWEST_APPLY_S, Ensemble
from tests.client_simulation.history import History
from zoolet.client import ClientOptions, Multi
from zoolet.client.connecting import server_order
from zoolet.client.protocol.watches import Watcher
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.requests import Create, Delete, SetData
from zoolet.model.requests import Multi as MultiRequest

ROOT: Final = "/app"
NAMES: Final = ("a", "b", "c")
HOST: Final = "127.0.0.1"
PORTS: Final = tuple(range(1, MEMBERS + 1))
CALL_S: Final = 5.0
SESSION_MS: Final = 4000
OTHER_SESSION_MS: Final = 1 << 30
"""The timeout of the session of all other clients, which does not expire."""

SERVED_AGAIN_S: Final = 60.0
"""The time in which a client must be served after the network has healed."""

LIMITS_S: Final = (None, None, None, 20.0, 0.5, 0.05, 0.002)
"""The time limits of calls."""


class World:
    """The ensemble, the network and the history of one client."""

    def __init__(self, seed: int, slack_s: float, *, is_exact: bool) -> None:
        self.chance = random.Random(seed)
        self.clock = Clock()
        self.network = Network(self.clock, random.Random(self.chance.random()))
        self.ensemble = Ensemble(self.clock, self.network)
        self.network.accept = self._accept
        self.chroot = self.chance.choice(["", ROOT])
        self.history = History(self.ensemble, self.chroot, slack_s, is_exact=is_exact)
        self.story = self.history.story
        self.base = "/" if self.chroot else ROOT
        self.has_faults = True
        self._rate = self.chance.choice([0.05, 0.3, 1.0])
        self._other = self.ensemble.new_session(OTHER_SESSION_MS)
        self._change(OpCode.CREATE, ROOT)
        self.clock.advance_to(self.clock.now_s + 1.0)

    @property
    def hosts(self) -> str:
        return ",".join(f"{HOST}:{port}" for port in PORTS) + self.chroot

    def options(self) -> ClientOptions:
        """Return the options of the client."""
        return ClientOptions(
            session_timeout_ms=SESSION_MS,
            connect_timeout_s=SERVED_AGAIN_S,
            call_timeout_s=CALL_S,
            max_outstanding_bytes=self.chance.choice([100, 1000, 1 << 20]),
        )

    @contextlib.contextmanager
    def seeded(self) -> Iterator[None]:
        """Let the client get its random numbers from the seed."""
        chance = random.Random(self.chance.random())
        ids = random.Random(chance.random())

        def next_id() -> uuid.UUID:
            return uuid.UUID(int=ids.getrandbits(128), version=4)

        def next_chance() -> random.Random:
            return random.Random(chance.random())

        with (
            mock.patch("uuid.uuid4", next_id),
            mock.patch.object(server_order, "SystemChance", next_chance),
        ):
            yield

    def begin_faults(self) -> None:
        """Begin to make faults, and changes of other clients."""
        self.clock.after(0.0, self._make_fault)
        self.clock.after(0.0, self._make_change)

    def heal(self) -> None:
        """End the faults."""
        self.has_faults = False
        self.network.down.clear()
        self.network.slow = 0.05
        for member in self.ensemble.members:
            member.delay_s = SLOWEST_APPLY_S
        # A connection whose replies are lost stays as it is: the client must notice the silence.
        self.history.tell("the network heals")

    def _accept(self, port: int, end: Any) -> Any:
        return self.ensemble.members[port - 1].accept(end)

    def tap_watchers(self, engine: Any) -> None:
        """Let the history see each watcher that is dropped."""
        discard, abandon = engine.discard, engine.abandon

        def discard_noted(watcher: Watcher) -> bool:
            self.history.dropped(watcher)
            return bool(discard(watcher))

        def abandon_noted(watcher: Watcher) -> None:
            self.history.dropped(watcher)
            abandon(watcher)

        engine.discard, engine.abandon = discard_noted, abandon_noted

    # Other clients.

    def _make_change(self) -> None:
        if not self.has_faults:
            return
        paths = [f"{ROOT}/{name}" for name in NAMES]
        if self.chance.random() < 0.2:
            parts = tuple((OpCode.SET_DATA.value, SetData(path, b"all", -1)) for path in paths)
            self.ensemble.write(self._other, 0, OpCode.MULTI, MultiRequest(parts))
        for _ in range(self.chance.choice([1, 1, 3])):
            kind = self.chance.choice(
                [OpCode.CREATE, OpCode.CREATE, OpCode.SET_DATA, OpCode.DELETE]
            )
            self._change(kind, self.chance.choice(paths))
        self.clock.after(self.chance.expovariate(2), self._make_change)

    def _change(self, kind: OpCode, path: str) -> None:
        data = b"other"
        if kind is OpCode.CREATE:
            create = Create(path, data, OPEN_ACL, CreateMode.PERSISTENT.value)
            self.ensemble.write(self._other, 0, kind, create)
        elif kind is OpCode.SET_DATA:
            self.ensemble.write(self._other, 0, kind, SetData(path, data, -1))
        else:
            self.ensemble.write(self._other, 0, kind, Delete(path, -1))

    # Faults.

    def _make_fault(self) -> None:
        if not self.has_faults:
            return
        faults: list[tuple[float, Callable[[], str]]] = [
            (8, self._cut),
            (4, self._lose_replies),
            (4, self._take_down),
            (1, self._expire),
            (3, self._slow_down),
        ]
        fault = self.chance.choices([act for _, act in faults], [often for often, _ in faults])[0]
        self.history.tell(f"fault: {fault()}")
        self.clock.after(self.chance.expovariate(self._rate), self._make_fault)

    def _cut(self) -> str:
        for link in list(self.network.links):
            link.cut()
        return "the connections are cut"

    def _lose_replies(self) -> str:
        for link in list(self.network.links):
            link.to_client.is_lossy = True
            if self.chance.random() < 0.7:
                self.clock.after(self.chance.random(), link.cut)
        return "the replies are lost"

    def _take_down(self) -> str:
        ports = self.chance.sample(PORTS, self.chance.choice([1, 1, 2, 3]))
        refuses = self.chance.random() < 0.5
        for port in ports:
            self.network.down[port] = refuses
        for link in list(self.network.links):
            if link.number in ports and self.chance.random() < 0.8:
                link.cut()
        self.clock.after(self.chance.random() * 4, lambda: self._bring_up(ports))
        return f"the servers {ports} are down"

    def _bring_up(self, ports: list[int]) -> None:
        for port in ports:
            self.network.down.pop(port, None)

    def _expire(self) -> str:
        self.ensemble.expire_all(but=self._other)
        return "the sessions have expired"

    def _slow_down(self) -> str:
        for member in self.ensemble.members:
            member.delay_s = self.chance.choice([0.0, SLOWEST_APPLY_S, 3.0])
        return "the members are slow"

    # The program.

    def path(self) -> str:
        """Return the path of a znode."""
        return f"{self.base.rstrip('/')}/{self.chance.choice(NAMES)}"

    def request(self, client: Any) -> Any:
        """Make a call with arguments by chance; return what the method returns."""
        chance, path = self.chance, self.path()
        limit = {"timeout_s": chance.choice(LIMITS_S)}
        sequential = chance.choice(
            [CreateMode.EPHEMERAL_SEQUENTIAL, CreateMode.PERSISTENT_SEQUENTIAL]
        )
        prefix = f"{self.base.rstrip('/')}/s-"
        calls: list[tuple[int, Callable[[], Any]]] = [
            (3, lambda: client.get(path, **limit)),
            (4, lambda: client.get(path, watch=_ignore, **limit)),
            (4, lambda: client.exists(path, watch=_ignore, **limit)),
            (4, lambda: client.children(self.base, watch=_ignore, **limit)),
            (2, lambda: client.children(self.base, **limit)),
            (4, lambda: client.set(path, chance.randbytes(chance.choice([0, 4, 90])), **limit)),
            (3, lambda: client.create(path, b"mine", **limit)),
            (1, lambda: client.create(path, b"", mode=CreateMode.EPHEMERAL, **limit)),
            (1, lambda: client.create(prefix, b"", mode=sequential, **limit)),
            (2, lambda: client.delete(path, **limit)),
            (1, lambda: client.multi(Multi().set(path, b"1").set(path, b"2"), **limit)),
            (1, lambda: client.sync(self.base, **limit)),
        ]
        return chance.choices([call for _, call in calls], [often for often, _ in calls])[0]()

    def random_hosts(self) -> str:
        """Return some of the servers."""
        ports = self.chance.sample(PORTS, self.chance.choice([1, 2, 3, 3]))
        return ",".join(f"{HOST}:{port}" for port in ports)

    # The end.

    def check_watches(self, client: Any) -> None:
        """Check that the client and its server have the same watches."""
        session = client._engine.session
        owner = self.ensemble.owners[session.session.id]
        machine = owner._member.machine
        tables = (machine.data_watches, machine.child_watches)
        at_server = {path for table in tables for path in table.by_watcher.get(owner, {})}
        kinds = session.watches._watchers
        listed = [watchers for kind in kinds for watchers in kind.values()]
        self.history.check_wanted(itertools.chain.from_iterable(listed))
        at_client = {path for kind in kinds for path in kind}
        assert at_server == at_client, (
            f"the watches of the server are on {at_server}, of the client on {at_client}"
        )


def _ignore(what: object) -> None:
    """Do nothing; the history has noted the notice."""
    del what
