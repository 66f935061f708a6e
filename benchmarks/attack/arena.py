"""One attack from start to end: prepare, start the server and the bystander, attack, look, restart.

Attacks are functions in the other modules of this package; ``attack`` makes one of them known.
"""

import contextlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.attack.bystander import Seen
from benchmarks.attack.clients import Client, Load, send_and_read
from benchmarks.attack.target import MOST_CONNECTIONS, Target
from benchmarks.attack.verdict import MAX_GROWTH_MB, Data, Figures, Memory, percentile, stored_mb

HOME = "{home}"
"""Stands in settings for the directory that ``prepare`` gets as ``directory.parents[1]``."""

_WARM_UP_S = 1.0
_AFTERMATH_S = 1.0
_LEAST_SETTLE_S = 2.0
_LOOK_S = 0.25
_BYSTANDER_ENDS_S = 30.0
_ONE_MB = 1e6


class Options(NamedTuple):
    """How attacks are run.

    Attributes:
        connections: over how many connections the attack goes.
        scale: by how much all sizes are multiplied.
        seed: of everything random.
        settle_s: how long the server has to release memory.
        limit_s: after how long an attack stops sending.
        memory_mb: from how much resident memory on the server is killed.
    """

    connections: int = 1
    scale: float = 1.0
    seed: int = 1
    settle_s: float = 60.0
    limit_s: float = 60.0
    memory_mb: float = 3000.0


@dataclass(eq=False)
class Arena:
    """What an attack works with.

    Attributes:
        target: the server.
        options: how the attack is run.
        random: its randomness.
        failures: what the attack has found to be wrong.
        notes: what else it has to say.
        deadline_s: when the attack must end, on the system's monotonic clock.
        looks: what is called when the server has started again.
    """

    target: Target
    options: Options
    random: random.Random
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    deadline_s: float = 0.0
    looks: list[Callable[[], None]] = field(default_factory=list)
    _clients: list[Client] = field(default_factory=list)

    @property
    def connections(self) -> int:
        """Over how many connections the attack goes."""
        return self.options.connections

    def size(self, number: int, least: int = 1) -> int:
        """Return a size of the attack at the scale that was asked for."""
        return max(least, round(number * self.options.scale))

    def client(self, **options: object) -> Client:
        """Return a new connection that is closed at the end of the attack; see ``Client``."""
        client = Client(self.target.port, **options)  # type: ignore[arg-type]
        self._clients.append(client)
        return client

    def clients(self) -> list[Client]:
        """Return as many new connections as the attack goes over."""
        return [self.client() for _ in range(self.connections)]

    def share(self, number: int) -> list[int]:
        """Return how much of a number each connection does."""
        each, rest = divmod(number, self.connections)
        return [each + (position < rest) for position in range(self.connections)]

    def pipeline(self, requests: Sequence[bytes], replies: int = -1) -> list[Client]:
        """Send the requests without waiting, shared between the connections; read the replies."""
        return self.pipeline_over(self.clients(), requests, replies)

    def pipeline_over(
        self, clients: Sequence[Client], requests: Sequence[bytes], replies: int = -1
    ) -> list[Client]:
        """Do the same over these connections."""
        loads = []
        for position, client in enumerate(clients):
            own = requests[position :: len(clients)]
            loads.append(Load(client, own, replies))
        self.send(loads)
        return list(clients)

    def send(self, loads: Sequence[Load], *, reads: bool = True) -> None:
        """Send loads and read replies, in the time that an attack has."""
        send_and_read(loads, self.deadline_s, reads=reads)
        closed = sum(load.client.is_closed for load in loads)
        late = sum(not load.is_done for load in loads)
        if closed:
            self.notes.append(f"{closed} connections closed by the server")
        if late and reads:
            self.notes.append(f"{late} connections not answered in time")
        refused: dict[int, int] = {}
        for load in loads:
            for code, count in load.client.replies.errors.items():
                if code:
                    refused[code] = refused.get(code, 0) + count
        self.notes += [f"{count:,} refused with {code}" for code, count in refused.items()]

    def after_restart(self, look: Callable[[], None]) -> None:
        """Call this when the server has started again."""
        self.looks.append(look)

    def close(self) -> None:
        """Close the attack's connections."""
        for client in self._clients:
            client.close()
        self._clients.clear()


Run = Callable[[Arena], None]
Prepare = Callable[[Path, "Options"], None]


class Attack(NamedTuple):
    """An attack.

    Attributes:
        name: it.
        what: what it does, in a line.
        run: does it.
        prepare: writes the data directory first; None: the server starts empty.
        settings: for zoo.cfg.
        limits: for the shell's ulimit.
        may_end: whether the server may end (it must start again then).
        is_shared: whether it also goes over as many connections as one address may have.
        keeps_connections: whether its connections stay open while the memory is measured.
    """

    name: str
    what: str
    run: Run
    prepare: Prepare | None = None
    settings: Mapping[str, object] = {}
    limits: Mapping[str, int] = {}
    may_end: bool = False
    is_shared: bool = True
    keeps_connections: bool = False


ATTACKS: dict[str, Attack] = {}


def attack(
    what: str,
    *,
    prepare: Prepare | None = None,
    settings: Mapping[str, object] | None = None,
    limits: Mapping[str, int] | None = None,
    may_end: bool = False,
    is_shared: bool = True,
    keeps_connections: bool = False,
) -> Callable[[Run], Run]:
    """Make a function known as an attack, under its name with - for _; see ``Attack``."""

    def register(run: Run) -> Run:
        name = run.__name__.replace("_", "-")
        ATTACKS[name] = Attack(
            *(name, what, run, prepare, settings or {}, limits or {}),
            *(may_end, is_shared, keeps_connections),
        )
        return run

    return register


class Outcome(NamedTuple):
    """What came of an attack: its figures, how long it took, and its notes."""

    figures: Figures
    seconds: float
    notes: tuple[str, ...]


def most_connections() -> int:
    """Return over how many connections an address may attack, beside the bystander's."""
    return MOST_CONNECTIONS - 1


def run_attack(attacking: Attack, options: Options) -> Outcome:
    """Run an attack against a new server and return what came of it."""
    with tempfile.TemporaryDirectory(prefix="zoolet-attack-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        if attacking.prepare is not None:
            attacking.prepare(home / "data" / "version-2", options)
        settings = {
            key: str(value).replace(HOME, name) for key, value in attacking.settings.items()
        }
        target = Target(home, settings, attacking.limits)
        # The seed and nothing else decides; it protects nothing.
        arena = Arena(target, options, random.Random(options.seed))  # noqa: S311
        try:
            target.start()
        except (RuntimeError, TimeoutError):
            return Outcome(_not_started(target), 0.0, ())
        with target, _memory_cap(target, options.memory_mb) as cap:
            return _measure(attacking, arena, cap)


def _not_started(target: Target) -> Figures:
    """Return the figures of a server that does not start on the data that it was given."""
    reason = f"no start: {_last_line(target)}"
    return Figures(0.0, 0.0, session_lives=False, memory=Memory(0, 0, 0), server_ended=reason)


class _Cap:
    """Whether the server had to be killed, and why."""

    def __init__(self) -> None:
        self.reason = ""


@contextlib.contextmanager
def _memory_cap(target: Target, most_mb: float) -> Iterator[_Cap]:
    """Kill the server if it uses too much of this machine's memory."""
    cap = _Cap()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK_S):
            resident_mb = target.resident_mb()
            if resident_mb > most_mb:
                cap.reason = f"killed at {resident_mb:,.0f} MB of resident memory"
                with contextlib.suppress(RuntimeError):
                    target.kill()

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield cap
    finally:
        ended.set()
        watching.join()


def _measure(attacking: Attack, arena: Arena, cap: _Cap) -> Outcome:
    target, options = arena.target, arena.options
    bystander = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.attack.bystander", str(target.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if bystander.stdout is None or bystander.stdout.readline() != "ready\n":
            raise RuntimeError(f"the bystander gets no session; the server says:\n{target.log}")
        time.sleep(_WARM_UP_S)
        stored, before_mb = target.data(), target.resident_mb()
        target.forget_peak()
        began_s = time.monotonic()
        arena.deadline_s = began_s + options.limit_s
        try:
            attacking.run(arena)
        except (OSError, EOFError) as error:
            arena.notes.append(f"{type(error).__name__}: {error}")
        ended_s = time.monotonic()
        if not attacking.keeps_connections:
            arena.close()
        time.sleep(_AFTERMATH_S)
        memory = _settle(target, before_mb, stored, options.settle_s)
        arena.close()
        seen = _end_bystander(bystander)
    finally:
        bystander.kill()
        bystander.wait()
    during = [
        latency_ms
        for sent_s, latency_ms in seen.samples
        if began_s <= sent_s <= ended_s + _AFTERMATH_S
    ]
    server_ended = cap.reason or _how_ended(target)
    if server_ended:
        arena.notes.append(f"ended: {server_ended}")
    restarts_s = time.monotonic()
    restart_error = _restart(target)
    arena.notes.append(f"restart in {time.monotonic() - restarts_s:.1f} s")
    if not restart_error:
        arena.notes.append(f"{target.resident_mb():,.0f} MB then")
        for look in arena.looks:
            look()
    figures = Figures(
        longest_ms=max((latency_ms for _, latency_ms in seen.samples), default=0.0),
        p99_ms=percentile(during, 99),
        session_lives=seen.lives,
        memory=memory,
        server_log_mb=target.log_bytes() / _ONE_MB,
        server_ended=server_ended,
        may_end=attacking.may_end and not cap.reason,
        restart_error=restart_error,
        failures=tuple(arena.failures),
    )
    return Outcome(figures, ended_s - began_s, tuple(dict.fromkeys(arena.notes)))


def _settle(target: Target, before_mb: float, stored: Data, settle_s: float) -> Memory:
    """Wait until the server has released what the attack took, but not longer than it may take."""
    memory = Memory(before_mb, target.peak_mb(), target.resident_mb())
    began_s = time.monotonic()
    while (settled_s := time.monotonic() - began_s) <= settle_s:
        with contextlib.suppress(OSError, KeyError):
            kept_mb = stored_mb(stored, target.data())
            memory = Memory(before_mb, target.peak_mb(), target.resident_mb(), kept_mb)
        if not target.is_running:
            break
        if settled_s >= _LEAST_SETTLE_S and memory.growth_mb <= MAX_GROWTH_MB:
            break
        time.sleep(_LEAST_SETTLE_S)
    return memory


def _end_bystander(bystander: "subprocess.Popen[str]") -> Seen:
    """Let the bystander stop, and return what it has seen."""
    try:
        printed, _ = bystander.communicate(timeout=_BYSTANDER_ENDS_S)
    except subprocess.TimeoutExpired:
        printed = ""
    return Seen.from_json(printed) if printed else Seen(lives=False, reconnects=0, samples=[])


def _how_ended(target: Target) -> str:
    """Return how the server ended, with the last line of its log; empty if it still runs."""
    if target.is_running:
        return ""
    with contextlib.suppress(RuntimeError):
        return f"status {target.wait()}: {_last_line(target)}"
    return "it was killed"


def _restart(target: Target) -> str:
    """Stop the server, if it runs, and start it without limits; returns what went wrong."""
    try:
        if target.is_running and (status := target.stop()):
            return f"a clean stop gave status {status}: {_last_line(target)}"
    except subprocess.TimeoutExpired:
        target.kill()
        return "the server did not stop in time"
    target.without_limits()
    try:
        target.start()
        target.word("srvr")
    except (RuntimeError, TimeoutError, OSError):
        return _last_line(target)
    return ""


def _last_line(target: Target) -> str:
    lines = target.log.strip().splitlines()
    return lines[-1] if lines else "its log is empty"
