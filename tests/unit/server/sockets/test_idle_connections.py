"""Connections on which nothing happens are closed; the clock is simulated, the sockets are real."""

import asyncio
import random
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.loops import RunOnLoop, until
from zoolet.server.common.stats import ServerStats
from zoolet.server.sockets.admission import AcceptedSocket, Admission, Limits
from zoolet.server.sockets.idle_connections import CONNECTIONS_PER_STEP, IdleConnections
from zoolet.server.sockets.listening import Acceptor, open_listening_sockets
from zoolet.server.zoo_cfg.config import Listener

SESSIONLESS_MS = 10_000
READ_MS = 30_000
MIB = 1 << 20


class Transport:
    """Has what the test says, and is closed once."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def abort(self) -> None:
        self.is_aborted = True


class Client(SimpleNamespace):
    """What the rules look at of a connection."""

    @property
    def unsent_bytes(self) -> int:
        return cast("int", self.transport.waiting_bytes)


class World:
    """Connections without a network, on a clock that a test moves."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.stats = ServerStats()
        self.admission = Admission(Limits(0, 0, 0), lambda: self.now_ms)
        self.idle = IdleConnections(
            [self.admission],
            lambda: self.now_ms,
            self.stats,
            sessionless_timeout_ms=SESSIONLESS_MS,
            client_read_timeout_ms=READ_MS,
        )
        self.transports: dict[AcceptedSocket, Transport] = {}

    def open(self, session: object = None, *, is_opened: bool = True) -> AcceptedSocket:
        """Accept a connection; it may still be in its TLS handshake."""
        no_socket = cast("socket.socket", NoSocket())
        accepted = self.admission.enter(no_socket, ("127.0.0.1", 1))
        transport = self.transports[accepted] = Transport()
        client = Client(
            session=session,
            is_open=True,
            is_answering=False,
            transport=transport,
            unconfirmed_bytes=MIB,
        )
        accepted.connection = cast("Any", client)
        if is_opened:
            accepted.opened(cast("asyncio.Transport", transport))
        return accepted

    def is_closed(self, accepted: AcceptedSocket) -> bool:
        return self.transports[accepted].is_aborted

    def pass_s(self, seconds: float) -> None:
        """Let time pass, with all checks that are due."""
        until_ms = self.now_ms + round(seconds * 1000)
        sessionless_ms, unread_ms = self.idle.sessionless_interval_ms, self.idle.unread_interval_ms
        while self.now_ms < until_ms:
            self.now_ms += 500
            if self.now_ms % sessionless_ms == 0:
                self.check_sessions()
            if self.now_ms % unread_ms == 0:
                self.check_reading()

    def check_sessions(self) -> int:
        """Run one check; returns how many steps it took."""
        return len(list(self.idle.close_sessionless()))

    def check_reading(self) -> int:
        return len(list(self.idle.close_unread()))


class NoSocket:
    """Tells nothing about TCP, as on a system without ``TCP_INFO``."""

    def getsockopt(self, *_arguments: int) -> bytes:
        raise OSError

    def fileno(self) -> int:
        return -1


@pytest.fixture
def world() -> World:
    return World()


# --- Without a session


def test_a_connection_without_a_session_is_closed_after_the_timeout(world: World) -> None:
    silent, served = world.open(), world.open(session="a session")
    world.pass_s(SESSIONLESS_MS / 1000 - 1)
    assert not world.is_closed(silent)
    world.pass_s(3)
    assert world.is_closed(silent)
    assert not world.is_closed(served)
    assert world.stats.sessionless_closed == 1


def test_a_session_that_comes_late_saves_its_connection(world: World) -> None:
    late = world.open()
    world.pass_s(SESSIONLESS_MS / 1000)
    cast("Client", late.connection).session = "a session"
    world.pass_s(60)
    assert not world.is_closed(late)


def test_a_word_that_is_being_answered_is_not_cut_off(world: World) -> None:
    answering, answered, queued = world.open(), world.open(), world.open()
    cast("Client", answering.connection).is_answering = True
    cast("Client", answered.connection).is_open = False
    cast("Client", queued.connection).is_answering = True
    world.pass_s(60)
    assert not [each for each in (answering, answered, queued) if world.is_closed(each)]


def test_a_handshake_is_left_to_its_own_timeout_and_its_connection_is_not(world: World) -> None:
    slow = world.open(is_opened=False)
    world.pass_s(2 * SESSIONLESS_MS / 1000)
    assert not world.is_closed(slow)
    slow.opened(cast("asyncio.Transport", world.transports[slow]))
    world.pass_s(2)
    assert world.is_closed(slow)


def test_what_has_gone_by_itself_is_forgotten(world: World) -> None:
    for _ in range(100):
        world.open().closed()
    world.pass_s(SESSIONLESS_MS / 1000 + 2)
    assert not world.admission.recent
    assert not world.admission.open
    assert world.stats.sessionless_closed == 0


def test_a_jump_of_the_clock_closes_nobody_before_it_is_looked_at_twice(world: World) -> None:
    fresh = world.open()
    world.now_ms += 3_600_000
    world.check_sessions()
    assert not world.is_closed(fresh)
    # In between the event loop has read what had arrived.
    cast("Client", fresh.connection).session = "a session"
    world.check_sessions()
    assert not world.is_closed(fresh)


def test_many_are_closed_in_bounded_steps(world: World) -> None:
    opened = [world.open() for _ in range(10 * CONNECTIONS_PER_STEP)]
    world.now_ms += SESSIONLESS_MS
    assert world.check_sessions() == 10
    assert world.check_sessions() == 10
    assert all(world.is_closed(accepted) for accepted in opened)
    assert world.check_reading() == 10


# --- Clients that do not read


def test_a_client_that_reads_nothing_is_closed(world: World) -> None:
    stuck, idle = world.open(session="one"), world.open(session="two")
    world.transports[stuck].waiting_bytes = 32 * MIB
    world.pass_s(READ_MS / 1000)
    assert not world.is_closed(stuck)
    world.pass_s(11)
    assert world.is_closed(stuck)
    assert not world.is_closed(idle)
    assert world.stats.unread_closed == 1


def test_a_client_that_was_sent_little_is_not_looked_at(world: World) -> None:
    """Ten thousand idle clients, each of which is sent the replies to its pings, cost nothing."""
    pinging, served = world.open(session="one"), world.open(session="two")
    for each, sent_bytes in ((pinging, 1000), (served, 32 << 10)):
        cast("Client", each.connection).unconfirmed_bytes = sent_bytes
        world.transports[each].waiting_bytes = 20
    world.pass_s(READ_MS / 1000 + 21)
    assert not world.is_closed(pinging)
    assert world.is_closed(served)


def test_it_is_closed_also_when_its_session_is_over(world: World) -> None:
    over = world.open(session="expired")
    cast("Client", over.connection).is_open = False  # ``finish`` has closed the transport
    world.transports[over].waiting_bytes = 32 * MIB
    world.pass_s(READ_MS / 1000 + 11)
    assert world.is_closed(over)


def test_an_operator_that_does_not_read_is_closed(world: World) -> None:
    operator = world.open()
    operator.connection = None
    world.transports[operator].waiting_bytes = MIB
    world.pass_s(READ_MS / 1000 + 11)
    assert world.is_closed(operator)


def test_a_client_that_reads_something_now_and_then_stays(world: World) -> None:
    slow = world.open(session="slow")
    world.transports[slow].waiting_bytes = 64 * MIB
    for _ in range(100):
        world.pass_s(20)
        world.transports[slow].waiting_bytes -= 1
    assert not world.is_closed(slow)


class SandboxSocket(NoSocket):
    """A socket of a kernel that knows ``TCP_INFO`` and fills in almost nothing, like gVisor's."""

    def getsockopt(self, *arguments: int) -> bytes:
        return bytes(arguments[-1])


def test_a_kernel_that_counts_no_acknowledged_bytes_is_not_believed(world: World) -> None:
    slow, stuck = world.open(session="slow"), world.open(session="stuck")
    for accepted in (slow, stuck):
        accepted.socket = cast("socket.socket", SandboxSocket())
        world.transports[accepted].waiting_bytes = 64 * MIB
    for _ in range(100):
        world.pass_s(20)
        world.transports[slow].waiting_bytes -= 1
    assert (world.is_closed(slow), world.is_closed(stuck)) == (False, True)


def test_reading_everything_begins_a_new_wait(world: World) -> None:
    bursty = world.open(session="bursty")
    for _ in range(10):
        world.transports[bursty].waiting_bytes = MIB
        world.pass_s(25)
        world.transports[bursty].waiting_bytes = 0
        world.pass_s(5)
    assert not world.is_closed(bursty)


def test_a_jump_of_the_clock_closes_no_client_that_had_no_time_to_read(world: World) -> None:
    reading = world.open(session="reading")
    world.transports[reading].waiting_bytes = MIB
    world.check_reading()
    world.now_ms += 3_600_000  # the process was stopped
    world.check_reading()
    assert not world.is_closed(reading)
    world.transports[reading].waiting_bytes = 0
    world.check_reading()
    assert not world.is_closed(reading)


@pytest.mark.parametrize("seed", range(20))
def test_only_those_are_closed_that_the_rules_name(world: World, seed: int) -> None:
    """The model: when a connection last did what keeps it."""
    chance = random.Random(seed)
    opened_ms: dict[AcceptedSocket, int] = {}
    read_ms: dict[AcceptedSocket, int] = {}
    for number in range(400):
        chosen = chance.randrange(5)
        if chosen == 0 or not opened_ms:
            accepted = world.open(session=chance.choice([None, "a session"]))
            opened_ms[accepted] = read_ms[accepted] = world.now_ms
        accepted = chance.choice(list(opened_ms))
        transport = world.transports[accepted]
        if chosen == 1:
            cast("Client", accepted.connection).session = "a session"
        elif chosen == 2 and not transport.waiting_bytes:
            transport.waiting_bytes = MIB + number  # never twice the same
            read_ms[accepted] = world.now_ms
        elif chosen == 3 and transport.waiting_bytes:
            transport.waiting_bytes = chance.choice([0, number + 1])
            read_ms[accepted] = world.now_ms
        world.pass_s(chance.choice([0.5, 1, 5]))
        for each in list(opened_ms):
            client, waits = cast("Client", each.connection), world.transports[each].waiting_bytes
            sessionless_ms = 0 if client.session else world.now_ms - opened_ms[each]
            unread_ms = world.now_ms - read_ms[each] if waits else 0
            if world.is_closed(each):
                assert sessionless_ms >= SESSIONLESS_MS or unread_ms >= READ_MS
                each.closed()
                del opened_ms[each]
            else:
                assert sessionless_ms < SESSIONLESS_MS + 3000
                assert unread_ms < READ_MS + 21_000
    assert set(world.admission.open) == set(opened_ms)


# --- With real sockets: what the kernel says


class Flood(asyncio.Protocol):
    """Sends a lot at once."""

    def __init__(self, accepted: AcceptedSocket, size_bytes: int) -> None:
        self.accepted = accepted
        self.size_bytes = size_bytes
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.accepted.opened(self.transport)
        self.transport.write(bytes(self.size_bytes))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.accepted.closed()


class Flooding(World):
    """Real connections, on a clock that a test moves."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.protocols: list[Flood] = []
        self.size_bytes = size_bytes
        sockets = open_listening_sockets(Listener("127.0.0.1", 0), 10)
        self.acceptor = Acceptor(sockets, self.admission, self.new_protocol, lambda: self.now_ms)

    def new_protocol(self, accepted: AcceptedSocket) -> asyncio.Protocol:
        self.protocols.append(Flood(accepted, self.size_bytes))
        return self.protocols[-1]

    def connect(self) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        client.connect(("127.0.0.1", self.acceptor.sockets[0].port))
        client.setblocking(False)
        return client


def read_up_to(client: socket.socket, size_bytes: int) -> int:
    """Read what is there, up to a limit."""
    read_bytes = 0
    while read_bytes < size_bytes:
        try:
            data = client.recv(size_bytes - read_bytes)
        except BlockingIOError:
            break
        if not data:
            break
        read_bytes += len(data)
    return read_bytes


def test_a_client_that_reads_64_mib_at_10_kb_a_second_stays(run: RunOnLoop) -> None:
    step_s = 20

    async def scenario() -> None:
        flooding = Flooding(64 * MIB)
        with flooding.connect() as client:
            read_bytes = 0
            while read_bytes < 64 * MIB:
                wanted = min(10_000 * step_s, 64 * MIB - read_bytes)
                while wanted:
                    got = read_up_to(client, wanted)
                    wanted -= got
                    read_bytes += got
                    await asyncio.sleep(0)
                flooding.pass_s(step_s)
                assert flooding.stats.unread_closed == 0
        await until(lambda: not flooding.admission.open)
        flooding.acceptor.close()

    run(scenario())


@pytest.mark.parametrize("size_bytes", [64 * MIB, 300 << 10])
def test_a_client_that_stops_reading_is_closed_and_its_memory_freed(
    run: RunOnLoop, size_bytes: int
) -> None:
    # The kernel's buffers hold the smaller size, so only the kernel knows that it waits.
    async def scenario() -> None:
        flooding = Flooding(size_bytes)
        with flooding.connect() as client:
            await until(lambda: any(one.transport for one in flooding.admission.open))
            transport = flooding.protocols[0].transport
            read_up_to(client, 50_000)
            flooding.pass_s(READ_MS / 1000)
            assert len(flooding.admission.open) == 1
            flooding.pass_s(11)
            await until(lambda: not flooding.admission.open)
            assert flooding.stats.unread_closed == 1
            # uvloop frees it in a later iteration of the loop.
            await until(lambda: transport.get_write_buffer_size() == 0)
        flooding.acceptor.close()

    run(scenario())


def test_a_client_that_has_read_everything_may_be_silent_for_ever(run: RunOnLoop) -> None:
    async def scenario() -> None:
        flooding = Flooding(MIB)
        with flooding.connect() as client:
            left = MIB
            while left:
                left -= read_up_to(client, left)
                await asyncio.sleep(0)
            flooding.pass_s(3600)
            assert flooding.stats.unread_closed == 0
        await until(lambda: not flooding.admission.open)
        flooding.acceptor.close()

    run(scenario())
