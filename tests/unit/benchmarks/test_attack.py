"""The attacks' own parts: the verdict, the frame counter, the load that is sent."""

import random
import socket
import time

import pytest

from benchmarks.attack import wire
from benchmarks.attack.clients import Client, Load, Replies, send_and_read
from benchmarks.attack.verdict import (
    MAX_GROWTH_MB,
    MAX_P99_MS,
    Data,
    Figures,
    Memory,
    judge,
    percentile,
    stored_mb,
)
from zoolet.model.codes import EventType, OpCode
from zoolet.testing import ServerProcess
from zoolet.wire.frames import encode_reply
from zoolet.wire.replies import encode_event

_QUIET = Figures(
    longest_ms=300.0,
    p99_ms=MAX_P99_MS - 1,
    session_lives=True,
    memory=Memory(50.0, 500.0, 50.0 + MAX_GROWTH_MB),
)


class TestJudge:
    def test_nothing_is_said_of_a_server_that_withstood_the_attack(self) -> None:
        assert judge(_QUIET) == []

    @pytest.mark.parametrize(
        ("figures", "reason"),
        [
            (_QUIET._replace(p99_ms=MAX_P99_MS), "p99 is 250 ms"),
            (_QUIET._replace(session_lives=False), "the bystander lost its session"),
            (_QUIET._replace(memory=Memory(50.0, 90.0, 71.0)), "the server keeps 21 MB more"),
            (_QUIET._replace(server_log_mb=1.1), "the server's log has 1.1 MB"),
            (_QUIET._replace(server_ended="status 1: x"), "the server ended: status 1: x"),
            (_QUIET._replace(restart_error="damaged"), "no restart: damaged"),
            (_QUIET._replace(failures=("7 missing",)), "7 missing"),
        ],
    )
    def test_each_fault_is_a_reason(self, figures: Figures, reason: str) -> None:
        assert judge(figures) == [reason]

    def test_a_server_that_may_end_is_judged_by_its_restart(self) -> None:
        ended = _QUIET._replace(server_ended="status 1: x", may_end=True, session_lives=False)
        assert judge(ended) == []
        assert judge(ended._replace(restart_error="damaged")) == ["no restart: damaged"]

    def test_what_clients_have_stored_is_no_growth(self) -> None:
        stored = stored_mb(Data(4, 100), Data(100_004, 10_000_100))
        assert stored == pytest.approx(50.0)
        assert judge(_QUIET._replace(memory=Memory(50.0, 500.0, 120.0, stored))) == []
        assert stored_mb(Data(100, 1000), Data(4, 100)) == 0.0


class TestPercentile:
    @pytest.mark.parametrize(
        ("values", "percent", "expected"),
        [
            ([], 99, 0.0),
            ([7.0], 99, 7.0),
            ([float(value) for value in range(1, 101)], 99, 99.0),
            ([float(value) for value in range(100, 0, -1)], 50, 50.0),
            ([0.0, 1000.0], 99, 1000.0),
        ],
    )
    def test_it_is_the_nearest_rank(
        self, values: list[float], percent: float, expected: float
    ) -> None:
        assert percentile(values, percent) == expected


class TestReplies:
    @pytest.mark.parametrize("seed", range(20))
    def test_frames_are_counted_however_they_are_cut(self, seed: int) -> None:
        rng = random.Random(seed)
        stream = b""
        events, errors = 0, {0: 0, -101: 0}
        for _ in range(rng.randrange(1, 60)):
            if rng.random() < 0.2:
                stream += encode_event(EventType.NODE_CREATED, "/" + "x" * rng.randrange(60), 5)
                events += 1
            else:
                err = rng.choice([0, -101])
                errors[err] += 1
                stream += encode_reply(1, 5, err, bytes(rng.choice([0, 1, 3, 5000])))
        replies = Replies()
        position = 0
        while position < len(stream):
            size = rng.choice([1, 2, 3, 19, 20, 21, 4000])
            replies.feed(stream[position : position + size])
            position += size
        assert replies.is_whole
        assert replies.events == events
        assert {err: replies.errors[err] for err in errors} == errors

    def test_a_frame_in_part_is_not_whole(self) -> None:
        replies = Replies()
        frame = encode_reply(1, 5, 0, bytes(10))
        for end in range(1, len(frame)):
            replies = Replies()
            replies.feed(frame[:end])
            assert not replies.is_whole
        replies.feed(frame[-1:])
        assert replies.is_whole


class TestSendAndRead:
    def test_all_replies_are_read(self) -> None:
        request = wire.path_watch(1, OpCode.EXISTS, "/")
        missing = wire.path_watch(1, OpCode.GET_DATA, "/none")
        with ServerProcess() as server, Client(server.port) as one, Client(server.port) as two:
            loads = [Load(one, [request] * 5000), Load(two, [missing] * 30)]
            send_and_read(loads, time.monotonic() + 60)
            assert [load.is_done for load in loads] == [True, True]
            assert one.replies.errors == {0: 5000}
            assert two.replies.errors == {-101: 30}

    def test_it_ends_when_the_server_closes(self) -> None:
        malformed = b"\xff" * 8
        with ServerProcess() as server, Client(server.port) as client:
            load = Load(client, [malformed])
            send_and_read([load], time.monotonic() + 60)
            assert client.is_closed
            assert load.is_done

    def test_it_ends_at_the_deadline(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        with listener, Client(listener.getsockname()[1], has_session=False) as client:
            load = Load(client, [wire.request(1, OpCode.PING)])
            send_and_read([load], time.monotonic())
            assert not load.is_done
