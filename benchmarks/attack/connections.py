"""Attacks with connections and frames: many, slow, broken, silent, unread."""

import contextlib
import socket
import time
from pathlib import Path

from benchmarks.attack import wire
from benchmarks.attack.arena import Arena, Options, attack
from benchmarks.attack.clients import Client, Load, reset, send_and_read
from benchmarks.attack.data import DataDirectory
from benchmarks.attack.reads import scaled
from zoolet.model.codes import AddWatchMode, OpCode
from zoolet.wire.jute import INT

_FRAME_MB = 64
_IDLE_ADDRESS = "127.0.0.3"
_IDLE_LIMIT_S = 40.0
_ANSWER_S = 30.0
_LEAKED_DESCRIPTORS = 8


def _large_znode(directory: Path, options: Options) -> None:
    data = DataDirectory()
    data.create("/large", bytes(scaled(1_000_000, options)))
    data.write(directory)


@attack("300,000 malformed requests")
def malformed(arena: Arena) -> None:
    """Send bodies that are none; look at the server's log afterwards."""
    request = wire.request(1, OpCode.GET_DATA, INT.pack(1000))
    arena.pipeline([request] * arena.size(300_000))
    arena.notes.append(f"{arena.target.log_bytes():,} bytes of log")


@attack("10,000 requests with an op code that there is not, on new connections")
def unknown_op_codes(arena: Arena) -> None:
    """Let the server refuse and close many connections, and log it."""
    for _ in range(arena.size(10_000) // arena.connections):
        arena.send([Load(client, [wire.request(1, 77)]) for client in arena.clients()])
        arena.close()
        if time.monotonic() > arena.deadline_s:
            break
    arena.notes.clear()


@attack("15,000 connections more than the address may have", is_shared=False)
def refused_connections(arena: Arena) -> None:
    """Let the server refuse connections, and log it."""
    address = "127.0.0.3"
    held = [arena.client(address=address) for _ in range(60)]
    refused = 0
    for _ in range(arena.size(15_000)):
        with contextlib.suppress(OSError, EOFError):
            Client(arena.target.port, address=address).close()
            continue
        refused += 1
        if time.monotonic() > arena.deadline_s:
            break
    arena.notes.append(f"{refused:,} refused beside {len(held)}")


@attack("15,000 connect requests with a wrong password, or none that can be read")
def bad_passwords(arena: Arena) -> None:
    """Let the server refuse sessions, and log it."""
    known = arena.client().session
    if known is None:
        return
    wrong = wire.connect_request(10_000, known._replace(password=bytes(16)))
    requests = (wrong, INT.pack(3) + b"abc", INT.pack(-1))
    for number in range(arena.size(15_000)):
        with contextlib.suppress(OSError), Client(arena.target.port, has_session=False) as client:
            client.socket.sendall(requests[number % len(requests)])
            client.take()
        if time.monotonic() > arena.deadline_s:
            break


@attack(
    "3,000 segments of one byte at the end of a frame of 32 MB",
    settings={"jute.maxbuffer": _FRAME_MB << 20},
)
def one_byte_segments(arena: Arena) -> None:
    """Let a large frame arrive in small pieces."""
    size_bytes = arena.size(32 << 20) // arena.connections
    segments = arena.size(3000)
    body = bytes(size_bytes - 8)
    clients = arena.clients()
    for client in clients:
        client.socket.sendall(wire.request(1, OpCode.GET_DATA, body)[:-segments])
    for _ in range(segments - 1):
        if time.monotonic() > arena.deadline_s:
            arena.notes.append("not all segments were sent in time")
            break
        for client in clients:
            with contextlib.suppress(OSError):
                client.socket.sendall(b"\0")


@attack(
    "59 clients ask for 1 MB as often as they can, do not read and stay",
    prepare=_large_znode,
    keeps_connections=True,
)
def not_read(arena: Arena) -> None:
    """Leave answers unread; the connections stay open while the memory is measured."""
    request = wire.path_watch(1, OpCode.GET_DATA, "/large")
    loads = [Load(client, [request] * 100) for client in arena.clients()]
    arena.send(loads, reads=False)


@attack(
    "59 clients watch everything, do not read, and 200,000 changes happen",
    keeps_connections=True,
    is_shared=False,
)
def events_not_read(arena: Arena) -> None:
    """Leave watch events unread, which come unasked."""
    clients = [arena.client() for _ in range(58)]
    for client in clients:
        client.ask(OpCode.ADD_WATCH, wire.add_watch_body("/", AddWatchMode.PERSISTENT_RECURSIVE))
    part = (int(OpCode.SET_DATA), wire.set_data_body("/n", b"x"))
    writer = arena.client()
    writer.ask(OpCode.CREATE, wire.create_body("/n"))
    arena.pipeline_over([writer], [wire.multi(1, [part] * 1000)] * arena.size(200))


@attack("a client reads 64 MB at 4 MB a second", prepare=_large_znode, is_shared=False)
def slow_reader(arena: Arena) -> None:
    """Read slowly; the server must not close the connection."""
    client = arena.client()
    number = 60
    client.socket.sendall(wire.path_watch(1, OpCode.GET_DATA, "/large") * number)
    for _ in range(number):
        try:
            wire.read_frame(client.socket)
        except (OSError, EOFError):
            arena.failures.append("the server closed the connection of a slow reader")
            return
        time.sleep(0.25)


def _answers(arena: Arena, address: str) -> bool:
    """Say whether a new client of an address is served."""
    try:
        with Client(arena.target.port, address=address) as client:
            return client.ask(OpCode.EXISTS, wire.watch_body("/"))[0] == 0
    except (OSError, EOFError):
        return False


@attack("1,600 connections are reset before they are accepted", limits={"n": 1024})
def resets(arena: Arena) -> None:
    """Do what TCP health checks do."""
    before = arena.target.descriptors()
    address = "127.0.0.3"
    for _ in range(arena.size(1600) // 100):
        # A server that is busy accepts after the reset.
        arena.target.pause()
        for _ in range(100):
            reset(arena.target.port, address)
        arena.target.resume()
        time.sleep(0.05)
    time.sleep(1.0)
    more = arena.target.descriptors() - before
    if more > _LEAKED_DESCRIPTORS:
        arena.failures.append(f"{more} descriptors leaked")
    if not _answers(arena, "127.0.0.4"):
        arena.failures.append("a new client is not served")


@attack(
    "400 connections at ulimit -n 256, then writes and a snapshot",
    limits={"n": 256},
    settings={"snapCount": 100},
    is_shared=False,
)
def descriptors(arena: Arena) -> None:
    """Use all descriptors; the server needs some for its own files."""
    connections = []
    for number in range(400):
        with contextlib.suppress(OSError):
            connections.append(
                socket.create_connection(
                    ("127.0.0.1", arena.target.port),
                    _ANSWER_S,
                    source_address=(f"127.0.2.{number // 50}", 0),
                )
            )
    time.sleep(2.0)
    for connection in connections:
        connection.close()
    with arena.client() as client:
        client.ask(OpCode.CREATE, wire.create_body("/n"))
        arena.send([Load(client, [wire.set_data(1, "/n", b"x")] * 2000)])


@attack(
    "writes and snapshots while 400 connections hold all of 256 descriptors",
    limits={"n": 256},
    settings={"snapCount": 100},
    is_shared=False,
)
def descriptors_held(arena: Arena) -> None:
    """Write while no descriptor is free."""
    client = arena.client()
    client.ask(OpCode.CREATE, wire.create_body("/n"))
    connections = []
    for number in range(400):
        with contextlib.suppress(OSError):
            connections.append(
                socket.create_connection(
                    ("127.0.0.1", arena.target.port),
                    _ANSWER_S,
                    source_address=(f"127.0.2.{number // 50}", 0),
                )
            )
    for _ in range(20):
        arena.send([Load(client, [wire.set_data(1, "/n", b"x")] * 100)])
        time.sleep(0.05)
    for connection in connections:
        connection.close()
    time.sleep(1.0)
    if not _answers(arena, "127.0.0.4"):
        arena.failures.append("a new client is not served")


@attack("60 sockets of one address send nothing", is_shared=False)
def idle_sockets(arena: Arena) -> None:
    """Wait until the server closes them, so that others of the address get in."""
    sockets = [
        socket.create_connection(
            ("127.0.0.1", arena.target.port), _ANSWER_S, source_address=(_IDLE_ADDRESS, 0)
        )
        for _ in range(60)
    ]
    began_s = time.monotonic()
    while not _answers(arena, _IDLE_ADDRESS):
        if time.monotonic() - began_s > _IDLE_LIMIT_S:
            arena.failures.append("idle sockets block other clients of their address")
            break
        time.sleep(0.5)
    arena.notes.append(f"others got in after {time.monotonic() - began_s:.0f} s")
    for each in sockets:
        each.close()


@attack("random bytes, alone and in frames and in sessions")
def random_bytes(arena: Arena) -> None:
    """Send what is no request, or nearly one."""
    for _ in range(arena.size(1000) // arena.connections):
        for position in range(arena.connections):
            has_session = arena.random.random() < 0.7
            with (
                contextlib.suppress(OSError, EOFError),
                arena.client(has_session=has_session) as client,
            ):
                client.socket.sendall(_noise(arena, framed=position % 2 == 0))
                client.socket.settimeout(0.01)
                client.take()
        arena.close()


def _noise(arena: Arena, *, framed: bool) -> bytes:
    noise = []
    for _ in range(20):
        content = arena.random.randbytes(arena.random.randrange(200))
        if framed:
            noise.append(wire.request(1, arena.random.randrange(-11, 110), content))
        else:
            noise.append(content)
    return b"".join(noise)


@attack("frames of nearly 1 MB on each connection that are never finished")
def half_frames(arena: Arena) -> None:
    """Let unfinished frames wait for their end."""
    half = wire.request(1, OpCode.SET_DATA, bytes(arena.size(1_000_000)))[:-1]
    send_and_read([Load(client, [half], 1) for client in arena.clients()], time.monotonic() + 2.0)


@attack(
    "creates of 1 B to 900 KB at ulimit -v 500000",
    limits={"v": 500_000},
    may_end=True,
    is_shared=False,
)
def memory_limit(arena: Arena) -> None:
    """Create until memory is gone; every acknowledged create must be there after a restart."""
    acknowledged: list[str] = []
    number = 0
    ends_s = time.monotonic() + min(30.0, arena.options.limit_s)
    while time.monotonic() < ends_s and arena.target.is_running:
        try:
            with arena.client() as client:
                while time.monotonic() < ends_s:
                    size_bytes = int(10 ** arena.random.uniform(0, 5.95))
                    path, number = f"/m{number:06d}", number + 1
                    err, _ = client.ask(OpCode.CREATE, wire.create_body(path, bytes(size_bytes)))
                    if err == 0:
                        acknowledged.append(path)
        except ConnectionRefusedError:
            time.sleep(0.1)
        except (OSError, EOFError):
            continue
    arena.after_restart(lambda: _missing(arena, acknowledged))


def _missing(arena: Arena, acknowledged: list[str]) -> None:
    """Look for what was acknowledged."""
    with Client(arena.target.port) as client:
        missing = [
            path
            for path in acknowledged
            if client.ask(OpCode.EXISTS, wire.watch_body(path))[0] != 0
        ]
    arena.notes.append(f"{len(acknowledged):,} creates acknowledged")
    if missing:
        arena.failures.append(f"{len(missing)} acknowledged creates are missing")
