"""The parts of the client benchmark that compute: verdicts, the table, reports, timed calls."""

import asyncio
import struct

import pytest
from rich.console import Console

from benchmarks import client_timing
from benchmarks.client_costs import imported_us, resident_mb
from benchmarks.client_rows import (
    CLIENTS,
    COMPILED,
    INTERPRETED,
    LOAD,
    ROWS,
    Measured,
    Row,
    best,
    judge,
    show,
)
from benchmarks.client_socket import CREATES, decode_get, encode_get, multi_paths, multis
from benchmarks.client_timing import (
    batches_per_s,
    outstanding_per_s,
    p50_us,
    tasks_per_s,
    threads_us,
)
from zoolet.client.protocol.requests import RequestMaker
from zoolet.model.codes import OpCode

KAZOO, AIOZK = Measured("kazoo", "gets"), Measured("aiozk", "gets")
LATENCY = Row("get", "µs", "get", 1.5, True, (Measured("socket", "get"),))
RATE = Row("gets", "per s", "gets", 10.0, False, (AIOZK, KAZOO), (), "get")


def latencies(*ours: float) -> dict[Measured, list[float]]:
    return {Measured(COMPILED, "get"): list(ours), Measured("socket", "get"): [10.0] * len(ours)}


class TestJudge:
    def test_the_median_ratio_of_the_rounds_counts(self) -> None:
        result = judge(LATENCY, COMPILED, latencies(14.0, 15.0, 90.0))
        assert result.figure == 15.0
        assert (result.ratio.low, result.ratio.median, result.ratio.high) == (1.4, 1.5, 9.0)
        assert result.is_reached

    def test_a_latency_above_the_target_misses_it(self) -> None:
        assert not judge(LATENCY, COMPILED, latencies(14.0, 15.1, 90.0)).is_reached

    def test_a_rate_below_the_target_misses_it(self) -> None:
        ours = Measured(COMPILED, "gets")
        assert judge(RATE, COMPILED, {ours: [100.0], KAZOO: [10.0]}).is_reached
        assert not judge(RATE, COMPILED, {ours: [99.0], KAZOO: [10.0]}).is_reached

    def test_each_round_is_compared_with_its_best_base(self) -> None:
        assert best(RATE, {KAZOO: [10.0, 30.0], AIOZK: [20.0, 20.0]}) == [20.0, 30.0]
        fast, slow = Measured("a", "get"), Measured("b", "get")
        row = LATENCY._replace(bases=(fast, slow))
        assert best(row, {fast: [1.0, 4.0], slow: [2.0, 3.0]}) == [1.0, 3.0]

    def test_a_base_that_is_not_installed_is_left_out(self) -> None:
        assert best(RATE, {KAZOO: [10.0]}) == [10.0]


class TestShow:
    def test_the_table_has_a_line_for_each_row_and_client(self) -> None:
        figures = {each: [10.0, 20.0] for row in ROWS for each in row.measured}
        console = Console(width=300)
        with console.capture() as printed:
            console.print(show(ROWS, figures))
        lines = printed.get().splitlines()
        assert sum("| interpreted |" in line for line in lines) == len(ROWS)
        assert sum("| compiled " in line for line in lines) == len(ROWS)

    def test_the_load_generator_is_shown_beside(self) -> None:
        figures = {
            Measured(INTERPRETED, "gets"): [100.0],
            Measured(COMPILED, "gets"): [200.0],
            KAZOO: [10.0],
            Measured(LOAD, "get"): [2000.0],
        }
        console = Console(width=300)
        with console.capture() as printed:
            console.print(show([RATE], figures))
        text = printed.get()
        assert "0.05 of 2,000" in text
        assert "0.10 of 2,000" in text
        assert "kazoo 10.0" in text
        assert "aiozk" not in text

    def test_each_row_measures_both_clients(self) -> None:
        for row in ROWS:
            assert {each.system for each in row.measured} >= set(CLIENTS)


def test_the_times_of_all_modules_are_added() -> None:
    report = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       120 |        120 |   zipimport\n"
        "something else\n"
        "import time:        30 |        150 | site\n"
    )
    assert imported_us(report) == 150


def test_the_resident_memory_is_in_kib() -> None:
    assert resident_mb("VmPeak:\t 1 kB\nVmRSS:\t  1000 kB\nRssAnon:\t 2 kB\n") == 1.024


class TestPlainRequests:
    def test_a_get_has_the_bytes_of_the_client(self) -> None:
        assert encode_get("/bench/é", 1) == RequestMaker().get("/bench/é").frame

    def test_a_reply_is_decoded(self) -> None:
        stat = tuple(range(11))
        packed = struct.pack(">qqqqiiiqiiq", *stat)
        header = struct.pack(">iiqii", 16 + 4 + 3 + len(packed), 1, 7, 0, 3)
        assert decode_get(header + b"abc" + packed) == (b"abc", stat)

    def test_a_multi_creates_different_znodes(self) -> None:
        made = multi_paths()[:3]
        assert len({path for paths in made for path in paths}) == 3 * CREATES
        for frame, paths in zip(multis(made), made, strict=True):
            length, _, op_code = struct.unpack_from(">iii", frame)
            assert (length, op_code) == (len(frame) - 4, OpCode.MULTI)
            assert all(path.encode() in frame for path in paths)


class TestTiming:
    """The rates depend on the machine, so only the calls are checked."""

    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client_timing, "WARMUP_S", 0.001)

    def test_all_started_calls_are_finished(self) -> None:
        started: list[int] = []
        finished: list[int] = []

        def start(argument: int) -> int:
            started.append(argument)
            assert len(started) - len(finished) <= client_timing.OUTSTANDING
            return argument

        assert outstanding_per_s(start, finished.append, [1, 2, 3], 0.005) >= 0
        assert started == finished

    def test_calls_go_through_the_arguments_in_turn(self) -> None:
        seen: list[int] = []
        assert p50_us(seen.append, [1, 2, 3], 0.001) >= 0
        assert seen[:4] == [1, 2, 3, 1]

    def test_each_thread_has_a_call_of_its_own(self) -> None:
        first: list[int] = []
        second: list[int] = []
        assert threads_us([first.append, second.append], [5], 0.005) >= 0
        assert first
        assert second

    def test_tasks_end_with_the_measurement(self) -> None:
        calls = 0

        async def call(_: int) -> None:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0)

        assert asyncio.run(tasks_per_s(call, [1], 0.005)) > 0
        assert calls >= client_timing.OUTSTANDING

    def test_each_batch_is_sent_once(self) -> None:
        sent: list[int] = []
        assert batches_per_s(sent.append, range(20)) > 0
        assert sent == list(range(20))
