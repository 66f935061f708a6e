"""Answers to operators: turns, back-pressure, failures, and a state that changes meanwhile."""

import asyncio
import json
import random
import socket
import tracemalloc
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.rawclient import RawClient
from tests.support.waiting import WAIT_S
from zoolet.model.codes import OpCode, WatchMode
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.common.stats import ServerStats
from zoolet.server.operator import answers as answers_module
from zoolet.server.operator import four_letter_words
from zoolet.server.operator.admin import ArgumentError, admin_page
from zoolet.server.operator.answers import (
    CHUNK_CHARS,
    MAX_LARGE_ANSWERS,
    PIECES_PER_CHUNK,
    Answer,
    Answers,
    in_chunks,
)
from zoolet.server.operator.http import Request, Response
from zoolet.server.operator.inspection import Inspector, size_of
from zoolet.server.operator.json_chunks import PAUSE, Entries, Items, Later, encode
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import Session, SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.watches import Watcher
from zoolet.testing import EmbeddedServer
from zoolet.wire.jute import pack_ustring


class Client:
    """The client's side of an answer."""

    def __init__(self) -> None:
        self.has_room = True
        self.chunks: list[bytes] = []
        self.is_ended = False
        self.is_aborted = False
        self.failure: Exception | None = None

    def send_chunk(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def end_answer(self) -> None:
        self.is_ended = True

    def fail_answer(self, error: Exception) -> None:
        self.failure = error

    def abort(self) -> None:
        self.is_aborted = True


def new_answers() -> Answers:
    loop = asyncio.get_running_loop()
    return Answers(Scheduler(loop.call_soon).run, lambda callback: callback())


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():
            await asyncio.sleep(0)


# --- Chunks and JSON


@pytest.mark.parametrize("size_chars", [0, 1, 50, CHUNK_CHARS])
def test_a_chunk_has_few_pieces_and_few_characters(size_chars: int) -> None:
    pieces = ["x" * size_chars] * 5000
    chunks = list(in_chunks(iter(pieces)))
    assert "".join(chunks) == "".join(pieces)
    assert len(chunks) >= 5000 // PIECES_PER_CHUNK
    assert max(map(len, chunks)) < CHUNK_CHARS + max(1, size_chars)


def random_value(chance: random.Random, depth: int) -> tuple[object, object]:
    """Return a value as the encoder takes it, and the same for ``json.dumps``."""
    kind = chance.randrange(8 if depth else 4)
    if kind < 4:
        plain = chance.choice([None, True, -5, 1.5, "", 'a"\n\u00e9\u2028', "/a/b"])
        return plain, plain
    inner = [random_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    lazy, plain_list = [value for value, _ in inner], [value for _, value in inner]
    names = [str(number) for number in range(len(inner))]
    with_pauses = [element for value in lazy for element in (PAUSE, value)]
    if kind == 4:
        return Items(with_pauses), plain_list
    if kind == 5:
        return lazy, plain_list
    if kind == 6:
        pairs: list[object] = [PAUSE, *zip(names, lazy, strict=True)]
        return Entries(pairs), dict(zip(names, plain_list, strict=True))
    return Later(lambda: dict(zip(names, lazy, strict=True))), dict(
        zip(names, plain_list, strict=True)
    )


@pytest.mark.parametrize("seed", range(50))
def test_json_in_pieces_is_the_json_of_the_whole(seed: int) -> None:
    lazy, plain = random_value(random.Random(seed), 4)
    assert "".join(encode(lazy)) == json.dumps(plain, indent=2, ensure_ascii=False)


# --- Turns, failures


def test_large_answers_wait_for_a_turn_and_hold_nothing_meanwhile() -> None:
    async def case() -> None:
        all_answers = new_answers()
        begun: list[int] = []

        def chunks(number: int) -> Iterator[bytes]:
            begun.append(number)
            yield b"first"
            yield b"second"

        clients = [Client() for _ in range(3 * MAX_LARGE_ANSWERS)]
        made: list[Answer] = []
        for number, client in enumerate(clients):
            client.has_room = number >= MAX_LARGE_ANSWERS
            made.append(all_answers.new("wchp", chunks(number), is_large=True))
            made[-1].begin(client)
        small = Client()
        all_answers.new("srvr", iter([b"small"])).begin(small)
        await until(lambda: small.is_ended)
        assert begun == []
        made[-1].stop()  # one that waits gives up
        made[0].stop()  # one that has its turn does too
        await until(lambda: all(client.is_ended for client in clients[MAX_LARGE_ANSWERS:-1]))
        assert begun == list(range(MAX_LARGE_ANSWERS, 3 * MAX_LARGE_ANSWERS - 1))
        for client in clients[1:MAX_LARGE_ANSWERS]:
            assert not client.is_ended
            client.has_room = True
        for answer in made:
            answer.go_on()
        await until(lambda: all(client.is_ended for client in clients[1:-1]))

    run(case())


@pytest.mark.parametrize("is_at_the_end", [False, True])
def test_a_client_that_does_not_read_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, *, is_at_the_end: bool
) -> None:
    monkeypatch.setattr(answers_module, "STALL_TIMEOUT_S", 0.05)

    async def case() -> None:
        client = Client()
        client.has_room = is_at_the_end
        new_answers().new("cons", iter([b"a"]), closes=True).begin(client)
        await until(lambda: client.is_aborted)
        assert client.chunks == ([b"a"] if is_at_the_end else [])

    run(case())


@pytest.mark.parametrize("error", [OSError("gone"), MemoryError(), RuntimeError("changed")])
def test_a_failure_ends_one_answer(error: Exception) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise error

    async def case() -> None:
        all_answers, one, other = new_answers(), Client(), Client()
        all_answers.new("dirs", chunks(), is_large=True).begin(one)
        all_answers.new("srvr", iter([b"b"])).begin(other)
        await until(lambda: one.failure and other.is_ended)
        assert one.failure is error
        assert not one.is_ended

    run(case())


def test_what_is_sent_by_a_broken_client_ends_its_answer_alone() -> None:
    class Broken(Client):
        def send_chunk(self, chunk: bytes) -> None:
            raise ConnectionError(chunk)

    async def case() -> None:
        all_answers, one, other = new_answers(), Broken(), Client()
        all_answers.new("srvr", iter([b"a"])).begin(one)
        all_answers.new("srvr", iter([b"b"])).begin(other)
        await until(lambda: one.is_aborted and other.is_ended)

    run(case())


# --- Words of a real server


@pytest.fixture
def asked() -> Iterator[EmbeddedServer]:
    settings = {"4lw.commands.whitelist": "*"}
    with EmbeddedServer(settings=settings) as server:
        yield server


def ask(server: EmbeddedServer, word: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as connection:
        connection.sendall(word)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
        return answer


def watch(client: RawClient, path: str) -> None:
    client.request(OpCode.EXISTS, pack_ustring(path) + b"\1")


def test_a_long_answer_arrives_whole(asked: EmbeddedServer) -> None:
    with RawClient(asked.port) as client:
        client.connect()
        paths = [f"/{number:0200d}" for number in range(2000)]
        for path in paths:
            watch(client, path)
        assert ask(asked, b"wchp").decode().splitlines()[::2] == [*paths, ""]
        assert [line[1:] for line in ask(asked, b"wchc").decode().splitlines()[1:-1]] == paths


def test_a_client_that_does_not_read_a_word_holds_little(asked: EmbeddedServer) -> None:
    with RawClient(asked.port) as client:
        client.connect()
        for number in range(2000):
            watch(client, f"/{number:01000d}")
        with socket.socket() as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            asking.connect(("127.0.0.1", asked.port))
            asking.settimeout(WAIT_S)
            asking.sendall(b"wchp")
            first = asking.recv(1)
            # The server is not held up: it answers others while this answer waits for its client.
            assert ask(asked, b"ruok") == b"imok"
            rest = b""
            while piece := asking.recv(1 << 16):
                rest += piece
            assert len(first + rest) == 2000 * (1002 + len(rest.splitlines()[1]) + 1) + 1


@pytest.mark.parametrize("word", [b"dirs", b"conf"])
def test_what_the_system_refuses_is_said(asked: EmbeddedServer, word: bytes) -> None:
    # Its data are in memory: the directory is not there for the system.
    assert b"could not be made" in ask(asked, word)
    assert ask(asked, b"ruok") == b"imok"


# --- While the state changes


class Watching(Watcher):
    """What there is to see of a connection that watches."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.address = f"10.0.0.{number}"
        self.peer = f"/{self.address}:1"
        self.session = Session(number, 1000, 0)


def inspector_of(machine: StateMachine) -> Inspector:
    subject = SimpleNamespace(machine=machine, stats=ServerStats(), now_ms=0, connections={})
    config = parse_config("tickTime=2000\ndataDir=/nowhere\nclientPort=1\n", Path("zoo.cfg"))
    return Inspector(config, cast("Any", subject), 0)


@pytest.fixture
def machine() -> StateMachine:
    return StateMachine(Tree.fresh(), SessionTable(1000))


@pytest.mark.parametrize("seed", range(20))
def test_what_stays_is_shown_once_while_watches_come_and_go(
    machine: StateMachine, seed: int
) -> None:
    chance = random.Random(seed)
    table, watchers = machine.data_watches, [Watching(number) for number in range(1, 6)]
    stays = {(f"/stays{number}", chance.choice(watchers)) for number in range(50)}
    comes = [(f"/comes{number}", chance.choice(watchers)) for number in range(50)]
    for path, watcher in [*stays, *comes[:25]]:
        table.add(path, watcher)

    def changing(values: Iterator[Any]) -> Iterator[Any]:
        """Yield the values; in between a watch comes or goes."""
        for value in values:
            changed, watcher = chance.choice(comes)
            if not table.remove(changed, watcher):
                table.add(changed, watcher)
            if value is not None:
                yield value

    inspector = inspector_of(machine)
    shown = [
        [
            (path, session_id)
            for path, session_ids in changing(inspector.watches_by_path())
            for session_id in session_ids
        ],
        [
            (path, session_id)
            for session_id, paths in inspector.watches_by_session()
            for path in changing(paths)
        ],
        [
            (watch["path"], watch["session_id"])
            for watch in changing(inspector.watch_details(None, None, None))
        ],
    ]
    expected = {(path, watcher.session.session_id) for path, watcher in stays}
    for pairs in shown:
        assert {pair for pair in pairs if pair[0].startswith("/stays")} == expected
        assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("word", ["wchp", "wchc"])
def test_a_long_word_holds_few_bytes_for_each_item(machine: StateMachine, word: str) -> None:
    """The whole text of 20,000 watches has more than 1 MB; the copied keys have 160 KB."""
    watcher = Watching(1)
    for number in range(20_000):
        machine.data_watches.add(f"/{number:050d}", watcher)
    chunks = four_letter_words.answer(word, {"*"}, inspector_of(machine))
    assert peak_bytes_of(chunks) < 500_000


@pytest.mark.parametrize("command", ["watches", "watches_by_path", "watch_details"])
def test_a_long_command_holds_few_bytes_for_each_item(machine: StateMachine, command: str) -> None:
    watcher = Watching(1)
    for number in range(20_000):
        machine.data_watches.add(f"/{number:050d}", watcher)
    responses: list[Response] = []
    exchange = cast("Any", SimpleNamespace(respond=responses.append))
    query = {"limit": "100000"} if command == "watch_details" else {}
    page = admin_page(inspector_of(machine), "/commands")
    page(Request("GET", f"/commands/{command}", query, {}, ""), exchange)
    assert peak_bytes_of(responses[0].chunks) < 500_000
    assert responses[0].is_large


def peak_bytes_of(chunks: Iterator[bytes]) -> int:
    """Return the most bytes that were allocated at any time while an answer was made."""
    tracemalloc.start()
    try:
        size_bytes = sum(map(len, chunks))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes > 1_000_000
    return peak_bytes


def test_watch_details_are_found_by_path_session_and_address(machine: StateMachine) -> None:
    one, two = Watching(1), Watching(2)
    machine.data_watches.add("/a", one)
    machine.data_watches.add("/a/b", two, WatchMode.PERSISTENT)
    machine.child_watches.add("/a", two, WatchMode.PERSISTENT_RECURSIVE)
    machine.data_watches.add("/ab", one)

    def found(path: str | None, session_id: int | None, address: str | None) -> list[object]:
        details = inspector_of(machine).watch_details(path, session_id, address)
        return [(shown["path"], shown["kind"], shown["modes"]) for shown in details if shown]

    a, b = ("/a", "data", ["standard"]), ("/a/b", "data", ["persistent"])
    ab, child = ("/ab", "data", ["standard"]), ("/a", "child", ["persistent_recursive"])
    assert found(None, None, None) == [a, b, ab, child]
    assert found("/a", None, None) == [a, child]
    assert found("/a/*", None, None) == [a, b, child]
    assert found("/*", None, None) == [a, b, ab, child]
    assert found(None, 2, None) == [b, child]
    assert found("/a", 2, None) == [child]
    assert found(None, None, "10.0.0.1") == [a, ab]
    assert found("/nowhere", None, None) == found(None, 3, None) == found(None, 1, "10.0.0.2") == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"limit": "2"}, (2, True)),
        ({"limit": "3"}, (3, False)),
        ({}, (3, False)),
        ({"session": "0x1", "limit": "1"}, (1, True)),
    ],
)
def test_watch_details_have_a_limit(
    machine: StateMachine, arguments: dict[str, str], expected: tuple[int, bool]
) -> None:
    watcher = Watching(1)
    for path in ("/a", "/b", "/c"):
        machine.data_watches.add(path, watcher)
    answer = json.loads(b"".join(watch_details(machine, arguments).chunks))
    assert (len(answer["watches"]), answer["has_more"]) == expected
    assert (answer["command"], answer["error"]) == ("watch_details", None)


@pytest.mark.parametrize(
    "arguments", [{"limit": "0"}, {"limit": "x"}, {"session": "me"}, {"paths": "/"}]
)
def test_watch_details_say_what_is_wrong(machine: StateMachine, arguments: dict[str, str]) -> None:
    response = watch_details(machine, arguments)
    with pytest.raises(ArgumentError) as raised:
        b"".join(response.chunks)
    assert response.failed is not None
    failed = response.failed(raised.value)
    assert failed.status == 400
    assert next(iter(arguments)) in json.loads(b"".join(failed.chunks))["error"]


def watch_details(machine: StateMachine, arguments: dict[str, str]) -> Response:
    responses: list[Response] = []
    exchange = cast("Any", SimpleNamespace(respond=responses.append))
    page = admin_page(inspector_of(machine), "/commands")
    page(Request("GET", "/commands/watch_details", arguments, {}, ""), exchange)
    return responses[0]


# --- What the system says


def test_a_file_that_is_removed_meanwhile_counts_as_nothing(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"log.{number}").write_bytes(bytes(1000))
    steps = size_of(tmp_path)
    next(steps)
    for path in tmp_path.iterdir():
        path.unlink()
    # One was counted; the size of the next may be known already.
    assert returned_by(steps) in {1000, 2000}


def returned_by(steps: Generator[None, None, int]) -> int:
    results: list[int] = []

    def run_all() -> Iterator[None]:
        results.append((yield from steps))

    for _ in run_all():
        pass
    return results[0]


@pytest.mark.parametrize("num_gone", [0, 1, 2])
def test_a_snapshot_that_is_removed_meanwhile_is_passed_over(
    machine: StateMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_gone: int
) -> None:
    directory = tmp_path / "version-2"
    directory.mkdir()
    (directory / "snapshot.1").write_bytes(b"")
    (directory / "snapshot.2").write_bytes(b"")
    inspector = inspector_of(machine)
    inspector.config = inspector.config._replace(data_dir=tmp_path)
    listed = list(directory.iterdir())
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(listed))
    for zxid in range(2, 2 - num_gone, -1):
        (directory / f"snapshot.{zxid}").unlink()
    assert inspector.last_snapshot()[0] == (2 - num_gone or -1)


def test_a_working_directory_that_is_gone_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: StateMachine
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert inspector_of(machine).environment()["user.dir"] == ""
