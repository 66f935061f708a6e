"""The table of the benchmark: verdicts, the choice of rows, the order of the sides, shared data."""

import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.table import large, throughput
from benchmarks.table.__main__ import EVERY_ROW, MEASUREMENTS, ROWS, choose
from benchmarks.table.rows import (
    OURS,
    Figures,
    Found,
    Row,
    Target,
    at_least,
    at_most,
    below,
    judge,
    show,
)
from benchmarks.table.running import Bench, Measurement, measure
from zoolet.storage.snapshots import read_snapshot

RATE = Row("rate", "requests", "per s", "load", "per_s", "Redis", at_least(0.9))


def found_of(ours: list[float], bases: list[float], figure: str = "per_s") -> Found:
    return {
        "load": {
            "Redis": [{figure: value} for value in bases],
            OURS: [{figure: value} for value in ours],
        }
    }


class TestTarget:
    @pytest.mark.parametrize(
        ("target", "reached", "missed"),
        [
            (at_least(1.0), [1.0, 1.01], [0.99]),
            (at_most(1.0), [1.0, 0.5], [1.01]),
            (below(25.0), [24.99], [25.0, 25.01]),
        ],
    )
    def test_is_reached(self, target: Target, reached: list[float], missed: list[float]) -> None:
        assert [target.is_reached(value) for value in reached] == [True] * len(reached)
        assert [target.is_reached(value) for value in missed] == [False] * len(missed)

    def test_shows_its_sign(self) -> None:
        assert [str(target) for target in (at_least(0.95), at_most(170.0), below(25.0))] == [
            "≥ 0.95",
            "≤ 170",
            "< 25",
        ]


class TestJudge:
    def test_the_ratio_is_that_of_each_round(self) -> None:
        # The machine is three times slower in the second round; the ratio does not show it.
        result = judge(RATE, found_of([900.0, 300.0, 950.0], [1000.0, 300.0, 1000.0]))
        assert (result.median, result.least, result.most) == (0.95, 0.9, 1.0)
        assert result.verdict == "reached"

    def test_the_median_decides_not_the_best_round(self) -> None:
        result = judge(RATE, found_of([890.0, 880.0, 2000.0], [1000.0, 1000.0, 1000.0]))
        assert result.verdict == "missed"

    def test_a_row_without_a_base_judges_its_figure(self) -> None:
        row = Row("p999", "p99.9", "ms", "load", "ms", "", below(25.0))
        assert judge(row, {"load": {OURS: [{"ms": 24.0}]}}).verdict == "reached"
        assert judge(row, {"load": {OURS: [{"ms": 25.0}]}}).verdict == "missed"

    def test_a_base_can_be_multiplied(self) -> None:
        row = RATE._replace(target=at_most(1.1), base_factor=10.0)
        assert judge(row, found_of([11.0], [1.0])).median == pytest.approx(1.1)
        assert judge(row, found_of([10.0], [1.0])).verdict == "reached"
        assert judge(row, found_of([12.0], [1.0])).verdict == "missed"

    def test_a_row_without_a_target_has_no_verdict(self) -> None:
        assert judge(RATE._replace(target=None), found_of([1.0], [2.0])).verdict == ""

    def test_sides_with_different_numbers_of_rounds_are_refused(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            judge(RATE, found_of([1.0, 2.0], [1.0]))

    def test_no_rounds_are_refused(self) -> None:
        with pytest.raises(ValueError, match="rate has no figures"):
            judge(RATE, found_of([], []))


class TestShow:
    def test_the_table_has_the_verdicts_and_the_latencies_of_both(self) -> None:
        found = found_of([50.0], [100.0])
        for figures in (found["load"]["Redis"][0], found["load"][OURS][0]):
            figures["p50_us"] = 1234.0
        table, missed = show([RATE, RATE._replace(name="shown", target=None)], found)
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(table)
        text = console.export_text()
        assert missed == ["rate"]
        assert "missed" in text
        assert "1,234 / 1,234" in text
        assert table.row_count == 2


class TestChoose:
    def test_a_whole_name_chooses_only_this_row(self) -> None:
        assert [row.name for row in choose(EVERY_ROW, ["memory"])] == ["memory"]

    def test_a_beginning_chooses_all_rows_that_begin_so(self) -> None:
        chosen = choose(EVERY_ROW, ["redis-set"])
        assert [row.name for row in chosen] == [
            "redis-set-16x32",
            "redis-set-64x1",
            "redis-set-1x1",
        ]

    def test_nothing_chooses_nothing(self) -> None:
        assert choose(EVERY_ROW, []) == []

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no row is called 'memroy'"):
            choose(EVERY_ROW, ["memory", "memroy"])


class TestRows:
    def test_names_are_unique(self) -> None:
        names = [row.name for row in EVERY_ROW]
        assert len(set(names)) == len(names)

    def test_each_row_has_a_measurement_with_its_sides(self) -> None:
        by_name = {measurement.name: measurement for measurement in MEASUREMENTS}
        assert len(by_name) == len(MEASUREMENTS)
        for row in EVERY_ROW:
            sides = by_name[row.measurement].sides
            assert OURS in sides, row.name
            assert not row.base or row.base in sides, row.name
        assert set(by_name) == {row.measurement for row in EVERY_ROW}

    def test_the_large_rows_are_not_among_the_others(self) -> None:
        assert not {row.name for row in ROWS} & {row.name for row in large.ROWS}

    def test_less_is_better_for_latencies_and_more_for_rates(self) -> None:
        for row in throughput.ROWS:
            if row.target is not None and row.unit in {"per s", "µs"}:
                assert row.target.sign == ("≥" if row.unit == "per s" else "≤"), row.name


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, 0.1, 0.0, 0.0, 0.002)


class TestMeasure:
    def test_every_second_round_is_in_reverse(self, bench: Bench) -> None:
        order: list[str] = []

        def side(name: str) -> Figures:
            order.append(name)
            return {"per_s": float(len(order))}

        sides = {name: lambda _, name=name: side(name) for name in ("Redis", OURS)}
        unused = Measurement("unused", {OURS: lambda _: pytest.fail("not asked for")})
        found = measure([RATE], [unused, Measurement("load", sides)], bench, 3)
        assert order == ["Redis", OURS, OURS, "Redis", "Redis", OURS]
        assert [figures["per_s"] for figures in found["load"][OURS]] == [2.0, 3.0, 6.0]
        assert [figures["per_s"] for figures in found["load"]["Redis"]] == [1.0, 4.0, 5.0]
        assert list(found) == ["load"]


class TestBench:
    def test_sizes_are_scaled_and_at_least_one(self, bench: Bench) -> None:
        assert bench.size(10_000) == 20
        assert bench.size(1) == 1
        assert bench.num_parents(1000) == 1
        assert bench.num_parents(6_000_000) == 12

    def test_data_are_written_once_and_no_server_changes_those_of_another(
        self, bench: Bench
    ) -> None:
        calls: list[Path] = []

        def write(directory: Path) -> None:
            calls.append(directory)
            directory.mkdir(parents=True)
            (directory / "snapshot.1").write_bytes(b"snapshot")
            (directory / "log.2").write_bytes(b"log")

        with bench.home() as first, bench.home() as second:
            bench.prepared(first, "data", write)
            (first / "data" / "version-2" / "log.2").write_bytes(b"changed")
            (first / "data" / "version-2" / "snapshot.1").unlink()
            bench.prepared(second, "data", write)
            files = second / "data" / "version-2"
            assert (files / "log.2").read_bytes() == b"log"
            assert (files / "snapshot.1").read_bytes() == b"snapshot"
            assert (files / "snapshot.1").stat().st_nlink == 2
        assert len(calls) == 1
        assert not first.exists()

    def test_a_snapshot_has_the_znodes_of_whole_parents(self, bench: Bench) -> None:
        with bench.home() as home:
            bench.with_znodes(home, 1_000_000)
            (snapshot,) = (home / "data" / "version-2").iterdir()
            tree = read_snapshot(snapshot, snapshot.read_bytes()).tree
        assert tree.record_of("/p00001/c00999") is not None
        assert tree.record_of("/p00002") is None


def test_the_verdict_agrees_with_a_sorted_list() -> None:
    """Random rounds: the median, the least and the most are those of the sorted ratios."""
    chance = random.Random(1)
    for _ in range(200):
        rounds = chance.choice((1, 3, 5))
        ours = [chance.uniform(1.0, 1e6) for _ in range(rounds)]
        bases = [chance.uniform(1.0, 1e6) for _ in range(rounds)]
        wanted = chance.uniform(0.1, 10.0)
        ratios = sorted(our / base for our, base in zip(ours, bases, strict=True))
        result = judge(RATE._replace(target=at_least(wanted)), found_of(ours, bases))
        assert (result.least, result.median, result.most) == (
            ratios[0],
            ratios[rounds // 2],
            ratios[-1],
        )
        assert result.is_reached is (ratios[rounds // 2] >= wanted)
