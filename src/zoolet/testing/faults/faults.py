"""Faults on demand: what happens to whom, to which requests, how often, and what has happened.

Owns the rules and the story of a test. What a fault does is done by the network and by the embedded
server. Rules are made on a test's thread and matched on the loop's.
"""

import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from zoolet.model.codes import ErrorCode, OpCode
from zoolet.testing.loop_thread import LoopThread
from zoolet.testing.traffic.network import Exchange, Link, Network
from zoolet.testing.traffic.seen_requests import SeenRequest

if TYPE_CHECKING:
    from zoolet.testing.faults.memory_disk import MemoryDisk

_WAIT_S = 10.0
_TOLD_REQUESTS = 20
_UNASKED = frozenset({OpCode.PING, OpCode.CREATE_SESSION})

Who = Any
"""A session: its id, or a kazoo client that has one."""

Inject = Callable[[Link, Exchange], bool]
"""What happens to a request; False: the server does not get it."""


class FaultError(Exception):
    """A fault cannot happen; the message says why."""


def session_id_of(who: Who) -> int:
    """Return the id of a session; raises FaultError for a client that has none."""
    if isinstance(who, int):
        return who
    # kazoo's client_id is None while the client is not connected, and its session may live on.
    session_id: int | None = getattr(who, "_session_id", None)
    if session_id is None:
        raise FaultError(f"{who!r} has no session: start the client, or give a session's id")
    return session_id


class Controls(Protocol):
    """What faults do to the server as a whole (``embedded.EmbeddedServer``); on its thread."""

    @property
    def disk(self) -> "MemoryDisk":
        """What the server's data are on; raises FaultError where that is a real disk."""
        ...

    def expire(self, session_id: int) -> bool:
        """End a session; False: there is none."""
        ...

    def stand_still(self, tell: Callable[[], None]) -> None:
        """Return when the server is resumed; ``tell`` is called as soon as it can be."""
        ...

    def crash_soon(self) -> None:
        """Lose what is not synced, and start again."""
        ...


@dataclass(frozen=True, slots=True)
class Selector:
    """Which requests.

    Attributes:
        op_codes: what they ask for; None: anything but pings and connecting (CREATE_SESSION),
            which come when a client's own clock says so.
        path: what they are about, or one of the parts of a multi is; ``*`` and ``?`` stand for any
            characters. None: anything.
        session_id: who asks; None: anyone.
    """

    op_codes: frozenset[int] | None
    path: str | None
    session_id: int | None

    def selects(self, request: SeenRequest) -> bool:
        """Say whether a request is one of them."""
        is_asked_for = (
            request.op_code not in _UNASKED
            if self.op_codes is None
            else request.op_code in self.op_codes
        )
        return (
            is_asked_for
            and (self.session_id is None or request.session_id == self.session_id)
            and (self.path is None or any(fnmatchcase(path, self.path) for path in request.paths))
        )

    def __str__(self) -> str:
        names = [OpCode(code).name for code in sorted(self.op_codes or ())]
        parts = [
            "/".join(names) if names else "any request",
            f"of {self.path}" if self.path is not None else "",
            f"by session 0x{self.session_id:x}" if self.session_id is not None else "",
        ]
        return " ".join(filter(None, parts))


class Fault:
    """One rule, until it is used up or cancelled; as a context manager it is cancelled at the end.

    Attributes:
        count: how often it has happened.
    """

    def __init__(
        self, faults: "Faults", selector: Selector, times: int | None, chance: "Chance"
    ) -> None:
        self.count = 0
        self.name = ""
        self._told = 0
        self.selector = selector
        self._faults = faults
        self._times = times
        self._chance = chance
        self._inject: Inject
        self._happened = threading.Condition()

    def cancel(self) -> None:
        """Let it happen no more."""
        self._faults.remove(self)

    def wait(self, count: int = 1, timeout_s: float = _WAIT_S) -> None:
        """Return once it has happened so often; raises TimeoutError where it has not in time."""
        with self._happened:
            if not self._happened.wait_for(lambda: self._told >= count, timeout_s):
                raise TimeoutError(
                    f"{self} happened {self.count} times in {timeout_s:g} s, not {count}; what was"
                    f" asked:\n{self._faults.requests_text()}"
                )

    def concerns(self, request: SeenRequest) -> bool:
        """Say whether it happens to a request, and if it does, count that."""
        if not self.selector.selects(request) or not self._chance.draw():
            return False
        self.count += 1
        if self.count == self._times:
            self.cancel()
        return True

    def inject(self, link: Link, exchange: Exchange) -> bool:
        """Let it happen; False: the server is not to get the request."""
        is_taken = self._inject(link, exchange)
        self.tell()
        return is_taken

    def tell(self) -> None:
        """Tell those who wait that it has happened."""
        with self._happened:
            self._told = self.count
            self._happened.notify_all()

    def does(self, name: str, inject: Inject) -> Self:
        """Say what happens."""
        self.name, self._inject = name, inject
        self._faults.add(self)
        return self

    def __str__(self) -> str:
        return f"{self.name} on {self.selector}{self._chance}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()


class Chance:
    """How probable it is that a fault happens to a request that it may happen to."""

    def __init__(self, probability: float, seed: int) -> None:
        self._probability = probability
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 -- it is to be the same again

    def draw(self) -> bool:
        """Decide for one request."""
        return self._probability >= 1 or self._random.random() < self._probability

    def __str__(self) -> str:
        if self._probability >= 1:
            return ""
        return f" with chance {self._probability:g}, seed {self._seed}"


class Partition:
    """Nothing gets through between a client and the server, until it is healed.

    As a context manager it is healed at the end.
    """

    def __init__(self, heal: Callable[[], None]) -> None:
        self._heal = heal

    def heal(self) -> None:
        """Let through what was held, and what comes."""
        self._heal()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.heal()


class Trigger:
    """What can happen to the requests that ``Faults.on`` selects.

    Each method arms the fault, and returns it.
    """

    def __init__(self, fault: Fault, network: Network, controls: Controls) -> None:
        self._fault = fault
        self._network = network
        self._controls = controls

    def lose_request(self) -> Fault:
        """Cut the connection; the server never gets the request."""
        return self._fault.does("lose the request", lambda link, _: _done(link.cut))

    def drop_reply(self) -> Fault:
        """Cut the connection instead of sending the reply: what was asked is done, and durable."""

        def inject(_: Link, exchange: Exchange) -> bool:
            exchange.reply_is_lost = True
            return True

        return self._fault.does("drop the reply", inject)

    def delay(self, seconds: float) -> Fault:
        """Let the reply wait on the server's clock, and what follows on the connection."""

        def inject(_: Link, exchange: Exchange) -> bool:
            exchange.delay_s = seconds
            return True

        return self._fault.does(f"delay the reply {seconds:g} s", inject)

    def answer(self, error: ErrorCode) -> Fault:
        """Answer with an error in the server's place, which never gets the request."""
        if OpCode.CREATE_SESSION in (self._fault.selector.op_codes or ()):
            raise FaultError(
                "connecting has no answer with an error: expire the session, or cut it"
            )

        def inject(_: Link, exchange: Exchange) -> bool:
            exchange.answer = error
            return False

        return self._fault.does(f"answer {ErrorCode(error).name}", inject)

    def expire(self) -> Fault:
        """End the session that asks, as if its time were up; the request is never answered."""
        return self._fault.does(
            "expire the session",
            lambda link, _: _done(lambda: self._controls.expire(link.session_id)),
        )

    def partition(self, for_s: float | None = None) -> Fault:
        """Let the request through, and then nothing more, for ``for_s`` or until ``heal``."""

        def inject(link: Link, _: Exchange) -> bool:
            partition_for(self._network, link.session_id, for_s)
            return True

        return self._fault.does("partition the client", inject)

    def pause(self) -> Fault:
        """Let the server stand still before it takes the request, until it is resumed."""

        def inject(_link: Link, _exchange: Exchange) -> bool:
            self._controls.stand_still(self._fault.tell)
            return True

        return self._fault.does("pause the server", inject)

    def fill_disk(self) -> Fault:
        """Let the disk be full from this request on; the server ends at the next write."""
        disk = self._controls.disk

        def inject(_link: Link, _exchange: Exchange) -> bool:
            disk.fill()
            return True

        return self._fault.does("fill the disk", inject)

    def crash(self) -> Fault:
        """Let the server crash before it takes the request, lose what is not synced, and start."""
        disk = self._controls.disk

        def inject(_link: Link, _exchange: Exchange) -> bool:
            disk.cut_power()
            self._controls.crash_soon()
            return False

        return self._fault.does("crash the server", inject)


class Faults:
    """The faults of one server: some happen now, to a session; some to the requests that come."""

    def __init__(self, thread: LoopThread, controls: Controls, seed: int) -> None:
        """Begin without any; ``seed`` is that of faults that are given none."""
        self._thread = thread
        self._controls = controls
        self._seed = seed
        self._network: Network
        self._rules: list[Fault] = []
        self._story: list[str] = []

    def attach(self, network: Network) -> None:
        """Say where they happen."""
        self._network = network

    # -- now ---------------------------------------------------------------------------------------

    def expire(self, who: Who) -> None:
        """End a session now, as if its client had been silent too long."""
        session_id = session_id_of(who)
        if not self._thread.call(lambda: self._controls.expire(session_id)):
            raise FaultError(f"session 0x{session_id:x} is not there to expire")
        self.note(f"expire session 0x{session_id:x}")

    def cut(self, who: Who) -> None:
        """Cut a client's connection now; it may come back."""
        session_id = session_id_of(who)

        def cut() -> bool:
            links = self._network.links_of(session_id)
            self._network.cut(links)
            return bool(links)

        if not self._thread.call(cut):
            raise FaultError(f"session 0x{session_id:x} has no connection to cut")
        self.note(f"cut the connection of session 0x{session_id:x}")

    def partition(self, who: Who, for_s: float | None = None) -> Partition:
        """Let nothing through between a client and the server, now; connections stay open.

        It ends after ``for_s`` on the server's clock, or when it is healed. What was sent meanwhile
        arrives then, unless the client has given its connection up.
        """
        session_id = session_id_of(who)
        lasting = "" if for_s is None else f" for {for_s:g} s"
        self.note(f"partition session 0x{session_id:x}{lasting}")
        end = self._thread.call(lambda: partition_for(self._network, session_id, for_s))
        return Partition(lambda: self._thread.call(end))

    # -- to requests that come ---------------------------------------------------------------------

    def on(
        self,
        op: OpCode | Collection[OpCode] | None = None,
        path: str | None = None,
        session: Who | None = None,
        *,
        times: int | None = 1,
        chance: float = 1.0,
        seed: int | None = None,
    ) -> Trigger:
        """Select requests by op code, path (``*`` and ``?`` match any characters) and session.

        What is chosen next happens to the first ``times`` of them (None: to all), and to
        each only with that chance, drawn from the seed. A path is as the server sees it: with the
        client's chroot.
        """
        if times is not None and times < 1:
            raise ValueError(f"times={times}: a fault happens once or more, or None: always")
        op_codes = None if op is None else frozenset([op] if isinstance(op, OpCode) else op)
        selector = Selector(
            op_codes, path, session_id=None if session is None else session_id_of(session)
        )
        drawn = Chance(chance, self._seed if seed is None else seed)
        return Trigger(Fault(self, selector, times, drawn), self._network, self._controls)

    def clear(self) -> None:
        """Cancel every rule and end every partition."""

        def clear() -> None:
            self._rules.clear()
            self._network.heal_all()

        self._thread.call(clear)

    # -- what has happened -------------------------------------------------------------------------

    @property
    def story(self) -> tuple[str, ...]:
        """What was injected so far, a line each."""
        return tuple(self._story)

    def note(self, line: str) -> None:
        """Add a line to the story."""
        self._story.append(line)

    def forget(self) -> None:
        """Begin again: no rules, and a new story. On the loop's thread."""
        self._rules.clear()
        self._story.clear()

    def requests_text(self) -> str:
        """Return what was asked last, a line each, for a message."""
        recent = list(self._network.requests.copy())[-_TOLD_REQUESTS:]
        return "\n".join(map(str, recent)) or "(nothing)"

    # -- on the loop's thread, but for adding ------------------------------------------------------

    def add(self, fault: Fault) -> None:
        """Let a rule hold from now on."""
        self._thread.call(lambda: self._rules.append(fault))

    def remove(self, fault: Fault) -> None:
        """Let a rule hold no longer."""

        def remove() -> None:
            if fault in self._rules:
                self._rules.remove(fault)

        self._thread.call(remove)

    def fault_for(self, request: SeenRequest) -> Fault | None:
        """Return the first rule that concerns a request; it is counted and told."""
        for fault in tuple(self._rules):
            if fault.concerns(request):
                self.note(f"{fault.name}: {request.what}")
                return fault
        return None


def partition_for(network: Network, session_id: int, for_s: float | None) -> Callable[[], None]:
    """Begin a partition; returns what ends it, as that time does too. For the loop's thread."""
    partition = network.partition(session_id)

    def end() -> None:
        network.heal(partition)

    if for_s is not None:
        network.clock.call_after(for_s, end)
    return end


def _done(act: Callable[[], object]) -> bool:
    """Do what is done instead of taking a request."""
    act()
    return False
