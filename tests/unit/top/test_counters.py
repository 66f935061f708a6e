"""Rates from the differences of answers to cons."""

import random

import pytest

from zoolet.client.connecting.answer_lines import ConnectedSession, parse_connection
from zoolet.top.counters import Differences
from zoolet.top.reports import MOST_ROWS, Kind, Report


def counted(received: int, session: int = 1, port: int = 1) -> ConnectedSession:
    line = f" /10.0.0.{session}:{port}[1](recved={received},sid={session:#x},lop=GETD)"
    found = parse_connection(line, "h:1")
    assert found is not None
    return found


def test_the_first_answer_has_no_rates() -> None:
    found = Differences().add("h:1", "note", [counted(5)], 1.0)
    assert found == Report("h:1", Kind.NOTHING, "note", is_incomplete=True)


def test_rates_are_differences() -> None:
    kept = Differences()
    kept.add("h:1", "", [counted(100), counted(7, 2)], 10.0)
    found = kept.add("h:1", "note", [counted(140), counted(7, 2), counted(20, 3)], 12.0)
    assert (found.kind, found.note, found.covered_s) == (Kind.COUNTERS, "note", 2.0)
    assert found.total == {"requests_per_s": 30.0}
    assert [(row["session"], row["requests_per_s"]) for row in found.tables["clients"]] == [
        ("0x1", 20.0),
        ("0x3", 10.0),
    ]
    assert found.tables["addresses"] == [
        {"address": "10.0.0.1", "requests_per_s": 20.0},
        {"address": "10.0.0.3", "requests_per_s": 10.0},
    ]


def test_a_counter_that_was_reset_counts_from_0() -> None:
    kept = Differences()
    kept.add("h:1", "", [counted(1000)], 0.0)
    assert kept.add("h:1", "", [counted(30)], 1.0).total == {"requests_per_s": 30.0}


def test_a_new_connection_of_the_same_session_is_another_one() -> None:
    kept = Differences()
    kept.add("h:1", "", [counted(10)], 0.0)
    assert kept.add("h:1", "", [counted(15, port=2)], 1.0).total == {"requests_per_s": 15.0}


def test_rates_are_about_the_last_minute() -> None:
    kept = Differences()
    received = 0
    for second in range(0, 600, 2):
        received += 2 * (1000 if second < 300 else 10)
        found = kept.add("h:1", "", [counted(received)], float(second))
        assert found.covered_s <= 70
    assert found.total == {"requests_per_s": 10.0}


def test_after_a_long_pause_the_rate_is_about_the_whole_pause() -> None:
    kept = Differences()
    kept.add("h:1", "", [counted(0)], 0.0)
    found = kept.add("h:1", "", [counted(1000)], 1000.0)
    assert (found.covered_s, found.total) == (1000.0, {"requests_per_s": 1.0})


def test_a_clock_that_was_set_back_begins_again() -> None:
    kept = Differences()
    kept.add("h:1", "", [counted(0)], 100.0)
    assert kept.add("h:1", "", [counted(5)], 50.0).is_incomplete
    assert kept.add("h:1", "", [counted(10)], 51.0).total == {"requests_per_s": 5.0}
    assert kept.add("h:1", "", [counted(10)], 50.0).is_incomplete


def test_tables_have_a_limit() -> None:
    kept = Differences()
    kept.add("h:1", "", [], 0.0)
    found = kept.add("h:1", "", [counted(9 + port, port=port) for port in range(1000)], 1.0)
    assert len(found.tables["clients"]) == MOST_ROWS
    assert found.tables["clients"][0]["address"] == "10.0.0.1:999"


@pytest.mark.parametrize("seed", range(10))
def test_rates_add_up_for_any_connections(seed: int) -> None:
    chance = random.Random(seed)
    kept = Differences()
    counts: dict[int, int] = {}
    kept.add("h:1", "", [], 0.0)
    sent_at: list[int] = []
    for second in range(1, 50):
        sent = 0
        for port in [port for port in counts if chance.random() < 0.05]:
            del counts[port]
        if chance.random() < 0.5:
            counts[second] = 0
        for port in counts:
            more = chance.randrange(100)
            counts[port] += more
            sent += more
        sent_at.append(sent)
        found = kept.add(
            "h:1", "", [counted(count, port=port) for port, count in counts.items()], float(second)
        )
        per_s = found.total["requests_per_s"]
        assert per_s <= sum(sent_at) / second + 0.01
        # Only what closed connections have sent is missing.
        assert per_s >= sum(counts.values()) / second - 0.01
