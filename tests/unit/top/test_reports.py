"""Answers to topk: a right one becomes a report, and any other one an error."""

import json
import random
from typing import Any

import pytest

from zoolet.top.reports import FIGURES, MOST_ROWS, TABLES, Kind, Report, ReportError, parse_samples

FIGURES_OF_ONE = dict.fromkeys(FIGURES, 1.5)


def answer(**changes: Any) -> dict[str, Any]:
    """Return the answer of a server, with some other members."""
    right = {
        "window_s": 60.0,
        "covered_s": 12.5,
        "gap": 3,
        "total": FIGURES_OF_ONE,
        **{name: [dict.fromkeys(texts, "text") | FIGURES_OF_ONE] for name, texts in TABLES.items()},
    }
    return right | changes


def test_a_right_answer() -> None:
    found = parse_samples("h:1", json.dumps(answer(more="ignored")))
    assert (found.server, found.kind, found.note) == ("h:1", Kind.SAMPLES, "")
    assert (found.covered_s, found.gap, found.total) == (12.5, 3, FIGURES_OF_ONE)
    assert found.tables["paths"] == [{"path": "text"} | FIGURES_OF_ONE]
    assert list(found.tables) == list(TABLES)
    shown = found.as_json()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["clients"] == [{"session": "text", "address": "text"} | FIGURES_OF_ONE]


def test_tables_and_texts_have_limits() -> None:
    row = {"path": "/" + "x" * 10_000} | FIGURES_OF_ONE
    found = parse_samples("h:1", json.dumps(answer(paths=[row] * 1000)))
    assert len(found.tables["paths"]) == MOST_ROWS
    assert len(found.tables["paths"][0]["path"]) == 1000


def test_lone_surrogates_are_replaced() -> None:
    found = parse_samples("h:1", json.dumps(answer(paths=[{"path": "/\ud800"} | FIGURES_OF_ONE])))
    assert found.tables["paths"][0]["path"] == "/?"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        "1",
        '"text"',
        "[" * 100_000,
        '{"a":' * 100_000,
        json.dumps(answer(gap="3")),
        json.dumps(answer(gap=True)),
        json.dumps(answer(covered_s=None)),
        json.dumps(answer(covered_s=-1)),
        json.dumps(answer(covered_s=float("nan"))),
        json.dumps(answer(covered_s=float("inf"))),
        json.dumps(answer(total=[])),
        json.dumps(answer(total={})),
        json.dumps(answer(paths=None)),
        json.dumps(answer(paths={})),
        json.dumps(answer(paths="text")),
        json.dumps(answer(paths=[1])),
        json.dumps(answer(paths=[{"path": 1} | FIGURES_OF_ONE])),
        json.dumps(answer(paths=[{"path": "/"}])),
        json.dumps(answer(paths=[{"path": "/"} | FIGURES_OF_ONE | {"samples": 10**400}])),
        json.dumps(answer()).replace("12.5", "1" * 5000),
    ],
)
def test_any_other_answer_is_one_error(text: str) -> None:
    with pytest.raises(ReportError, match="h:1 answers topk with something else"):
        parse_samples("h:1", text)


@pytest.mark.parametrize("seed", range(30))
def test_damaged_answers_are_read_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    whole = json.dumps(answer())
    for _ in range(100):
        at = chance.randrange(len(whole))
        damage = chance.choice(["", "0", '"', "{", "]", "null", "\0", "-", "e999"])
        try:
            found = parse_samples("h:1", whole[:at] + damage + whole[at + chance.randrange(3) :])
        except ReportError:
            continue
        assert isinstance(found, Report)
        json.dumps(found.as_json(), allow_nan=False)
