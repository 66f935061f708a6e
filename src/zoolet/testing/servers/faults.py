"""Faults on demand: which fault happens to which session or request, and how often.

This module contains the rules of a test and the story, which is the list of past faults. The
network and the embedded server carry out the faults. A test creates rules on its own thread; the
loop's thread compares the rules with requests.
"""

import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from zoolet.client.protocol.session_id import SessionId
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.testing.received_requests.seen_requests import SeenRequest
from zoolet.testing.servers.clock import LoopThread
from zoolet.testing.servers.network import Exchange, Link, Network

if TYPE_CHECKING:
    from zoolet.testing.servers.memory_disk import MemoryDisk

_WAIT_S = 10.0
_TOLD_REQUESTS = 20
_UNASKED = frozenset({OpCode.PING, OpCode.CREATE_SESSION})

Who = Any
"""A session: its id, or a client that has one: of `zoolet.client`, or a kazoo client."""

Inject = Callable[[Link, Exchange], bool]
"""Carries out a fault on a request; returns False if the server must not get the request."""


class FaultError(Exception):
    """A fault cannot happen; the message has the reason."""


def session_id_of(who: Who) -> int:
    """Return the id of a session.

    Raises:
        FaultError: the client has no session.
    """
    if isinstance(who, int):
        return who
    if isinstance(session := getattr(who, "session_id", None), SessionId):
        session_id: int | None = session.id or None
    else:
        # kazoo's client_id is None while the client is not connected, but its session may exist.
        session_id = getattr(who, "_session_id", None)
    if session_id is None:
        raise FaultError(f"{who!r} has no session: start the client, or give a session's id")
    return session_id


class Controls(Protocol):
    """What faults do to a whole server (``embedded.EmbeddedServer``); called on its thread."""

    @property
    def disk(self) -> "MemoryDisk":
        """The disk in memory.

        Raises:
            FaultError: the data are on a real disk.
        """
        ...

    def expire(self, session_id: int) -> bool:
        """End a session; return False if the session does not exist."""
        ...

    def stand_still(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` when the server can be resumed, then block until it is resumed."""
        ...

    def crash_soon(self) -> None:
        """Schedule a crash that loses all data that are not synced, and then a start."""
        ...


@dataclass(frozen=True, slots=True)
class Selector:
    """A condition that selects requests.

    Attributes:
        op_codes: the selected op codes; None selects all except pings and connect requests
            (CREATE_SESSION), because clients send those on their own.
        path: a pattern for the path of the request, or of one part of a multi; ``*`` matches any
            characters, ``?`` one character. None selects all requests.
        session_id: the session that sends the request; None selects all sessions.
    """

    op_codes: frozenset[int] | None
    path: str | None
    session_id: int | None

    def selects(self, request: SeenRequest) -> bool:
        """Return whether this condition selects a request."""
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
    """A rule for a fault, active until the fault has happened ``times`` times or is cancelled.

    As a context manager, a fault is cancelled at the end of the ``with`` block.

    Attributes:
        count: the number of times that the fault has happened.
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
        """Remove the rule: the fault does not happen again."""
        self._faults.remove(self)

    def wait(self, count: int = 1, timeout_s: float = _WAIT_S) -> None:
        """Return when the fault has happened ``count`` times.

        Raises:
            TimeoutError: the fault has not happened ``count`` times after ``timeout_s`` seconds.
        """
        with self._happened:
            if not self._happened.wait_for(lambda: self._told >= count, timeout_s):
                raise TimeoutError(
                    f"{self} happened {self.count} times in {timeout_s:g} s, not {count}; the last"
                    f" requests:\n{self._faults.requests_text()}"
                )

    def concerns(self, request: SeenRequest) -> bool:
        """Return whether the fault happens to a request; increase ``count`` if it does."""
        if not self.selector.selects(request) or not self._chance.draw():
            return False
        self.count += 1
        if self.count == self._times:
            self.cancel()
        return True

    def inject(self, link: Link, exchange: Exchange) -> bool:
        """Carry out the fault; return False if the server must not get the request."""
        is_taken = self._inject(link, exchange)
        self.tell()
        return is_taken

    def tell(self) -> None:
        """Wake the threads that are in ``wait``."""
        with self._happened:
            self._told = self.count
            self._happened.notify_all()

    def does(self, name: str, inject: Inject) -> Self:
        """Set the name and the action of the fault, and activate the rule."""
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
    """The probability that a fault happens to a selected request."""

    def __init__(self, probability: float, seed: int) -> None:
        self._probability = probability
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 -- must be reproducible

    def draw(self) -> bool:
        """Return whether the fault happens to a selected request; decide at random."""
        return self._probability >= 1 or self._random.random() < self._probability

    def __str__(self) -> str:
        if self._probability >= 1:
            return ""
        return f" with chance {self._probability:g}, seed {self._seed}"


class Partition:
    """A partition between a client and the server, until ``heal``.

    As a context manager, a partition is healed at the end of the ``with`` block.
    """

    def __init__(self, heal: Callable[[], None]) -> None:
        self._heal = heal

    def heal(self) -> None:
        """End the partition: pass on the held frames and all later frames."""
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
    """The faults that can happen to the requests that ``Faults.on`` selects.

    Each method activates a fault and returns the fault.
    """

    def __init__(self, fault: Fault, network: Network, controls: Controls) -> None:
        self._fault = fault
        self._network = network
        self._controls = controls

    def lose_request(self) -> Fault:
        """Close the connection; the server never gets the request."""
        return self._fault.does("lose the request", lambda link, _: _done(link.cut))

    def drop_reply(self) -> Fault:
        """Close the connection instead of sending the reply; the request is executed durably."""

        def inject(_: Link, exchange: Exchange) -> bool:
            exchange.reply_is_lost = True
            return True

        return self._fault.does("drop the reply", inject)

    def delay(self, seconds: float) -> Fault:
        """Delay the reply, and all later replies of the connection, on the server's clock."""

        def inject(_: Link, exchange: Exchange) -> bool:
            exchange.delay_s = seconds
            return True

        return self._fault.does(f"delay the reply {seconds:g} s", inject)

    def answer(self, error: ErrorCode) -> Fault:
        """Send an error as the reply; the server never gets the request."""
        if OpCode.CREATE_SESSION in (self._fault.selector.op_codes or ()):
            raise FaultError(
                "a connect request has no reply with an error: use lose_request() or drop_reply()"
                " instead"
            )

        def inject(_: Link, exchange: Exchange) -> bool:
            exchange.answer = error
            return False

        return self._fault.does(f"answer {ErrorCode(error).name}", inject)

    def expire(self) -> Fault:
        """Expire the session that sends the request; the request gets no reply."""
        return self._fault.does(
            "expire the session",
            lambda link, _: _done(lambda: self._controls.expire(link.session_id)),
        )

    def partition(self, for_s: float | None = None) -> Fault:
        """Pass the request on, then partition the session for ``for_s`` (None: without end)."""

        def inject(link: Link, _: Exchange) -> bool:
            partition_for(self._network, link.session_id, for_s)
            return True

        return self._fault.does("partition the client", inject)

    def pause(self) -> Fault:
        """Pause the server before it processes the request, until the server is resumed."""

        def inject(_link: Link, _exchange: Exchange) -> bool:
            self._controls.stand_still(self._fault.tell)
            return True

        return self._fault.does("pause the server", inject)

    def fill_disk(self) -> Fault:
        """Fill the disk before this request; the server ends at the next write."""
        disk = self._controls.disk

        def inject(_link: Link, _exchange: Exchange) -> bool:
            disk.fill()
            return True

        return self._fault.does("fill the disk", inject)

    def crash(self) -> Fault:
        """Crash the server before it processes the request, lose unsynced data, and start it."""
        disk = self._controls.disk

        def inject(_link: Link, _exchange: Exchange) -> bool:
            disk.cut_power()
            self._controls.crash_soon()
            return False

        return self._fault.does("crash the server", inject)


class Faults:
    """The faults of one server: immediate faults of sessions, and faults of future requests."""

    def __init__(self, thread: LoopThread, controls: Controls, seed: int) -> None:
        """Begin without faults; ``seed`` is the default seed of faults with a chance."""
        self._thread = thread
        self._controls = controls
        self._seed = seed
        self._network: Network
        self._rules: list[Fault] = []
        self._story: list[str] = []

    def attach(self, network: Network) -> None:
        """Set the network in which the faults happen."""
        self._network = network

    # --- Now

    def expire(self, who: Who) -> None:
        """Expire a session now."""
        session_id = session_id_of(who)
        if not self._thread.call(lambda: self._controls.expire(session_id)):
            raise FaultError(f"session 0x{session_id:x} cannot expire: it does not exist")
        self.note(f"expire session 0x{session_id:x}")

    def cut(self, who: Who) -> None:
        """Close a client's connection now; the client may reconnect."""
        session_id = session_id_of(who)

        def cut() -> bool:
            links = self._network.links_of(session_id)
            self._network.cut(links)
            return bool(links)

        if not self._thread.call(cut):
            raise FaultError(f"session 0x{session_id:x} has no connection to cut")
        self.note(f"cut the connection of session 0x{session_id:x}")

    def partition(self, who: Who, for_s: float | None = None) -> Partition:
        """Partition a client from the server now: no frame gets through; connections stay open.

        The partition ends after ``for_s`` on the server's clock, or at ``heal``. Frames that were
        sent during the partition arrive then, unless the client has closed its connection.
        """
        session_id = session_id_of(who)
        lasting = "" if for_s is None else f" for {for_s:g} s"
        self.note(f"partition session 0x{session_id:x}{lasting}")
        end = self._thread.call(lambda: partition_for(self._network, session_id, for_s))
        return Partition(lambda: self._thread.call(end))

    # --- Future requests

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
        """Select requests by op code, path and session.

        A method of the result sets the fault. The fault happens to each selected request with the
        probability ``chance``, at most ``times`` times (None: no limit); the random numbers come
        from ``seed``. In ``path``, which includes the client's chroot, ``*`` matches any characters
        and ``?`` one character.
        """
        if times is not None and times < 1:
            raise ValueError(f"times={times}: must be at least 1, or None for all requests")
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

    # --- Past faults

    @property
    def story(self) -> tuple[str, ...]:
        """The faults that were injected so far, one line each."""
        return tuple(self._story)

    def note(self, line: str) -> None:
        """Add a line to the story."""
        self._story.append(line)

    def forget(self) -> None:
        """Remove all rules and empty the story; must be called on the loop's thread."""
        self._rules.clear()
        self._story.clear()

    def requests_text(self) -> str:
        """Return the last requests, one line each, for a message."""
        recent = list(self._network.requests.copy())[-_TOLD_REQUESTS:]
        return "\n".join(map(str, recent)) or "(nothing)"

    # --- Rules

    def add(self, fault: Fault) -> None:
        """Activate a rule; may be called on any thread."""
        self._thread.call(lambda: self._rules.append(fault))

    def remove(self, fault: Fault) -> None:
        """Remove a rule, if it is active; may be called on any thread."""

        def remove() -> None:
            if fault in self._rules:
                self._rules.remove(fault)

        self._thread.call(remove)

    def fault_for(self, request: SeenRequest) -> Fault | None:
        """Return the first rule whose fault happens to a request; None: no fault happens.

        Must be called on the loop's thread.
        """
        for fault in tuple(self._rules):
            if fault.concerns(request):
                self.note(f"{fault.name}: {request.what}")
                return fault
        return None


def partition_for(network: Network, session_id: int, for_s: float | None) -> Callable[[], None]:
    """Begin a partition; return a function with which the caller can end it early.

    None for ``for_s`` means no limit. Must be called on the loop's thread.
    """
    partition = network.partition(session_id)

    def end() -> None:
        network.heal(partition)

    if for_s is not None:
        network.clock.call_after(for_s, end)
    return end


def _done(act: Callable[[], object]) -> bool:
    """Call ``act``, and return False: the server must not get the request."""
    act()
    return False
