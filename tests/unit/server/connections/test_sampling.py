"""Samples of requests: which ones are taken, what they contain, and how many there are."""

import random
import sys

import pytest

from tests.support.rawclient import END_OF_MULTI, connect_frame, multi_body, request_frame
from zoolet.model.codes import OpCode
from zoolet.server.common.samples import MOST_SAMPLES, WINDOW_S, Sample, Samples
from zoolet.server.connections.receiving import ReceivingSide
from zoolet.server.connections.sampling import CUT, MOST_PATH_BYTES, TARGET_PER_S, Sampler
from zoolet.state_machine.sessions import Session
from zoolet.wire.jute import INT, pack_buffer, pack_ustring

GET = OpCode.GET_DATA


def client_of(session_id: int = 7, address: str = "10.0.0.1") -> ReceivingSide:
    client = ReceivingSide()
    client.address = address
    client.session = Session(session_id, 1000, 0)
    return client


def read_of(path: str, op_code: int = GET) -> bytes:
    return request_frame(1, op_code, pack_ustring(path) + b"\0")


def taken(*frames: bytes, is_first: bool = False) -> list[Sample]:
    """Return the samples of a new sampler, which takes the first hundred requests of a second."""
    sampler = Sampler(0.0)
    sampler.passed(client_of(), b"".join(frames), len(frames), is_first, 0.5)
    return sampler.recent(0.5)[0]


def test_a_sample_has_what_the_request_says() -> None:
    frame = read_of("/a/b")
    [found] = taken(frame)
    assert (found.op_code, found.path, found.size_bytes) == (GET, "/a/b", len(frame))
    assert (found.session_id, found.address, found.at_s, found.weight) == (7, "10.0.0.1", 0.5, 1)


@pytest.mark.parametrize(
    "op_code",
    [op_code for op_code in OpCode if "CREATE" in op_code.name and op_code > 0]
    + [OpCode.DELETE, OpCode.SET_DATA, OpCode.SET_ACL, OpCode.SYNC, OpCode.ADD_WATCH]
    + [op_code for op_code in OpCode if op_code.name.startswith(("GET_", "EXISTS"))],
)
def test_the_path_of_each_operation_is_found(op_code: OpCode) -> None:
    [found] = taken(read_of("/x", op_code))
    assert (found.op_code, found.path) == (op_code, "/x")


@pytest.mark.parametrize("op_code", [OpCode.AUTH, OpCode.SASL, OpCode.SET_WATCHES, OpCode.WHO_AM_I])
def test_no_other_request_shows_its_content(op_code: OpCode) -> None:
    """The content of auth and SASL is a secret."""
    [found] = taken(request_frame(1, op_code, pack_buffer(b"digest") + pack_buffer(b"secret")))
    assert (found.op_code, found.path) == (op_code, None)


def test_a_multi_shows_the_path_of_its_first_part() -> None:
    parts = [(int(OpCode.DELETE), pack_ustring(path) + INT.pack(-1)) for path in ("/one", "/two")]
    multi = request_frame(1, OpCode.MULTI, multi_body(parts))
    empty = request_frame(2, OpCode.MULTI, END_OF_MULTI)
    assert [found.path for found in taken(multi, empty)] == ["/one", None]


def test_pings_are_not_shown() -> None:
    ping = request_frame(-2, OpCode.PING)
    assert [found.path for found in taken(ping, read_of("/a"), ping)] == ["/a"]


def test_the_first_frame_of_a_connection_has_no_op_code() -> None:
    found = taken(connect_frame(), read_of("/a"), is_first=True)
    assert [sample.op_code for sample in found] == [OpCode.CREATE_SESSION, GET]
    client = client_of()
    client.session = None  # the server refused it
    sampler = Sampler(0.0)
    sampler.passed(client, connect_frame(), 1, True, 0.0)
    assert sampler.recent(0.0)[0][0].session_id == 0


def test_a_frame_that_is_shorter_than_its_header_is_not_shown() -> None:
    assert taken(INT.pack(3) + b"abc", INT.pack(0)) == []


def test_a_length_of_a_path_is_not_believed() -> None:
    for length in (-1, -2, 5, 1 << 30, -(1 << 31)):
        [found] = taken(request_frame(1, GET, INT.pack(length) + b"abcd"))
        assert found.path is None
    [found] = taken(request_frame(1, GET, b"\0\0"))
    assert found.path is None


@pytest.mark.parametrize("letter", ["a", "ä", "\U0001f600"])
def test_a_long_path_is_cut(letter: str) -> None:
    [found] = taken(read_of("/" + 500 * letter))
    assert found.path is not None
    assert found.path.endswith(letter + CUT)
    assert MOST_PATH_BYTES - 3 <= len(found.path.removesuffix(CUT).encode()) <= MOST_PATH_BYTES


def test_invalid_text_is_replaced() -> None:
    [found] = taken(request_frame(1, GET, pack_buffer(b"/\xff\x1b") + b"\0"))
    assert found.path == "/\ufffd\x1b"


def test_a_few_requests_are_all_taken() -> None:
    sampler = Sampler(0.0)
    client = client_of()
    for number in range(1000):
        sampler.passed(client, read_of(f"/{number}"), 1, False, number / (TARGET_PER_S / 2))
    samples, covered_s = sampler.recent(20.0)
    assert [sample.path for sample in samples] == [f"/{number}" for number in range(1000)]
    assert {sample.weight for sample in samples} == {1}
    assert (covered_s, sampler.gap) == (20.0, 1)


def load(
    sampler: Sampler, chance: random.Random, per_s: int, seconds: int, start_s: float, batch: int
) -> None:
    """Process requests for a time: a third of them are for /hot, and each other has a path."""
    client = client_of()
    for number in range(per_s * seconds // batch):
        paths = ["/hot" if chance.random() < 1 / 3 else f"/{chance.random()}" for _ in range(batch)]
        at_s = start_s + number * batch / per_s
        sampler.passed(client, b"".join(map(read_of, paths)), batch, False, at_s)


@pytest.mark.parametrize("batch", [1, 32])
def test_the_estimates_are_near_the_truth_at_any_load(batch: int) -> None:
    """The random numbers are those of a seed, so the result is always the same."""
    chance = random.Random(3)
    sampler = Sampler(0.0, lambda: 1 - chance.random())
    now_s = 0.0
    for per_s in (320, 12_800, 3_200, 6_400):
        load(sampler, chance, per_s, 5, now_s, batch)
        now_s += 5
    samples, covered_s = sampler.recent(now_s)
    assert covered_s == now_s
    assert 900 < len(samples) < 4000
    truth = 5 * (320 + 12_800 + 3_200 + 6_400)
    for wanted, found in (
        (truth, samples),
        (truth / 3, [sample for sample in samples if sample.path == "/hot"]),
    ):
        estimate = sum(sample.weight for sample in found)
        error = sum(sample.weight * (sample.weight - 1) for sample in found) ** 0.5
        assert error < 0.1 * wanted
        assert abs(estimate - wanted) < 4 * error


def test_a_sudden_load_takes_few_samples_and_a_calm_one_many_again() -> None:
    chance = random.Random(5)
    sampler = Sampler(0.0, lambda: 1 - chance.random())
    client = client_of()
    frame = read_of("/a")
    data = 1000 * frame
    for number in range(500):  # half a million requests in less than a second
        sampler.passed(client, data, 1000, False, number / 1000)
    assert len(sampler.recent(0.5)[0]) < 15 * TARGET_PER_S
    at_s = 0.5
    while sampler.gap > 1:
        sampler.passed(client, frame, 1, False, at_s)
        at_s += 0.25
    assert at_s < 15


def test_a_million_paths_take_bounded_memory() -> None:
    sampler = Sampler(0.0)
    client = client_of()
    for number in range(10_000):
        frames = [read_of(f"/{number * 100 + more:0>190}") for more in range(100)]
        sampler.passed(client, b"".join(frames), 100, False, 0.01 * number)
    samples, covered_s = sampler.recent(100.0)
    assert covered_s == WINDOW_S
    assert 0.8 * TARGET_PER_S * WINDOW_S < len(samples) < MOST_SAMPLES
    size_bytes = sum(sys.getsizeof(sample) + sys.getsizeof(sample.path) for sample in samples)
    assert size_bytes < 4_000_000


def test_the_oldest_samples_go_if_there_are_too_many() -> None:
    samples = Samples(0.0)
    for number in range(MOST_SAMPLES + 100):
        samples.add(Sample(number / 1000, 1, "", GET, "/a", 10, 1))
    kept, covered_s = samples.recent(9.0)
    assert len(kept) == MOST_SAMPLES
    assert covered_s == pytest.approx(9.0 - 0.099)


def test_old_samples_go() -> None:
    sampler = Sampler(0.0)
    sampler.passed(client_of(), read_of("/old"), 1, False, 1.0)
    sampler.passed(client_of(), read_of("/new"), 1, False, 50.0)
    assert [sample.path for sample in sampler.recent(60.0)[0]] == ["/old", "/new"]
    assert [sample.path for sample in sampler.recent(61.5)[0]] == ["/new"]
    assert sampler.recent(1e9) == ([], WINDOW_S)


def test_a_clock_that_goes_back_begins_again() -> None:
    sampler = Sampler(1000.0)
    sampler.passed(client_of(), read_of("/before"), 1, False, 1500.0)
    sampler.passed(client_of(), read_of("/lost"), 1, False, 10.0)
    sampler.passed(client_of(), read_of("/after"), 1, False, 11.0)
    samples, covered_s = sampler.recent(12.0)
    assert ([sample.path for sample in samples], covered_s) == (["/after"], 2.0)
    assert sampler.recent(1.0) == ([], 0.0)


def test_a_clock_that_jumps_forward_takes_samples() -> None:
    sampler = Sampler(0.0)
    for at_s in (1e3, 1e6, 1e9):
        sampler.passed(client_of(), read_of(f"/{at_s}"), 1, False, at_s)
        assert [sample.path for sample in sampler.recent(at_s)[0]] == [f"/{at_s}"]


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_of_clients_are_read(seed: int) -> None:
    """Frames of any content, in batches of any size: never an error, never too long a path."""
    chance = random.Random(seed)
    sampler = Sampler(0.0, lambda: 1 - chance.random())
    client = client_of()
    for number in range(300):
        frames = []
        for _ in range(chance.randrange(1, 20)):
            content = chance.randbytes(chance.choice([0, 7, 8, 12, 40, 2000]))
            if len(content) > 8 and chance.random() < 0.8:
                content = content[:4] + INT.pack(chance.choice(list(OpCode))) + content[8:]
            if len(content) > 12 and chance.random() < 0.5:
                content = content[:8] + INT.pack(chance.randrange(-2, 2000)) + content[12:]
            frames.append(INT.pack(len(content)) + content)
        data = b"".join(frames) + chance.randbytes(3)
        is_first = chance.random() < 0.1
        sampler.passed(client, data, len(frames), is_first, number * chance.random())
    for sample in sampler.recent(300.0)[0]:
        assert len(sample.path or "") <= MOST_PATH_BYTES + 1
        assert sample.op_code != OpCode.PING
        assert sample.weight >= 1
