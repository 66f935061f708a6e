"""The sums of samples: per client, address, path, parent and operation, and how exact they are."""

import random
from collections import Counter

import pytest

from zoolet.model.codes import OpCode
from zoolet.server.common.samples import MOST_SAMPLES, Sample
from zoolet.server.operator.busiest import MOST_ROWS, UNKNOWN_OPERATION, busiest, name_of


def sample(path: str | None = "/a", weight: int = 1, **more: int) -> Sample:
    return Sample(
        1.0,
        more.get("session_id", 7),
        "10.0.0.1",
        more.get("op_code", OpCode.GET_DATA),
        path,
        more.get("size_bytes", 100),
        weight,
    )


def shown(samples: list[Sample], covered_s: float = 10.0) -> dict[str, object]:
    steps = busiest(samples, covered_s, 1)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: dict[str, object] = stop.value
            return found


def rows(found: dict[str, object], table: str) -> list[dict[str, object]]:
    listed = found[table]
    assert isinstance(listed, list)
    return listed


def test_without_samples_all_tables_are_empty() -> None:
    found = shown([], 0.0)
    assert found["total"] == {
        "requests_per_s": 0.0,
        "error_per_s": 0.0,
        "writes_per_s": 0.0,
        "bytes_per_s": 0.0,
        "samples": 0,
    }
    for table in ("clients", "addresses", "paths", "parents", "operations"):
        assert found[table] == []


def test_sums_of_all_requests_are_exact() -> None:
    found = shown(
        [
            sample("/a/b"),
            sample("/a/c", op_code=OpCode.SET_DATA, size_bytes=300),
            sample("/a/c"),
            sample(None, op_code=OpCode.WHO_AM_I, session_id=255),
        ]
    )
    exact = {"error_per_s": 0.0}
    assert rows(found, "paths") == [
        {"path": "/a/c", "requests_per_s": 0.2, "writes_per_s": 0.1, "bytes_per_s": 40.0,
         "samples": 2, **exact},
        {"path": "/a/b", "requests_per_s": 0.1, "writes_per_s": 0.0, "bytes_per_s": 10.0,
         "samples": 1, **exact},
    ]  # fmt: skip
    assert [(row["path"], row["samples"]) for row in rows(found, "parents")] == [("/a", 3)]
    assert [(row["session"], row["address"]) for row in rows(found, "clients")] == [
        ("0x7", "10.0.0.1"),
        ("0xff", "10.0.0.1"),
    ]
    assert [row["requests_per_s"] for row in rows(found, "addresses")] == [0.4]
    assert {row["operation"]: row["samples"] for row in rows(found, "operations")} == {
        "getData": 2,
        "setData": 1,
        "whoAmI": 1,
    }


def test_only_sessions_are_clients() -> None:
    found = shown([sample(session_id=0), sample(session_id=-1)])
    assert [row["session"] for row in rows(found, "clients")] == ["0xffffffffffffffff"]
    assert [row["samples"] for row in rows(found, "addresses")] == [2]


def test_the_parent_of_the_root_and_of_a_text_that_is_no_path() -> None:
    found = shown([sample("/"), sample("/a"), sample("no path"), sample("")])
    assert [(row["path"], row["samples"]) for row in rows(found, "parents")] == [("/", 4)]


def test_the_error_grows_with_the_weight() -> None:
    [row] = rows(shown([sample(weight=100) for _ in range(400)], 60.0), "paths")
    assert row["requests_per_s"] == pytest.approx(40_000 / 60, rel=1e-4)
    assert row["error_per_s"] == pytest.approx((400 * 100 * 99) ** 0.5 / 60, rel=1e-3)


def test_the_first_second_is_not_exaggerated() -> None:
    assert rows(shown([sample()], 0.001), "paths")[0]["requests_per_s"] == 1.0


def test_a_table_has_a_limit_and_the_work_has_pauses() -> None:
    samples = [sample(f"/{number}", weight=1 + (number == 500)) for number in range(MOST_SAMPLES)]
    assert len(list(busiest(samples, 60.0, 1))) > 30
    paths = rows(shown(samples), "paths")
    assert len(paths) == MOST_ROWS
    assert paths[0]["path"] == "/500"


def test_names_are_those_of_zookeeper() -> None:
    assert name_of(OpCode.GET_CHILDREN2) == "getChildren2"
    assert name_of(OpCode.CREATE_TTL) == "createTTL"
    assert name_of(OpCode.SET_ACL) == "setACL"
    assert name_of(12_345) == UNKNOWN_OPERATION


@pytest.mark.parametrize("seed", range(10))
def test_any_samples_add_up(seed: int) -> None:
    chance = random.Random(seed)
    samples = [
        sample(
            chance.choice(["/a", "/a/b", "/c", None]),
            chance.randrange(1, 50),
            session_id=chance.randrange(1, 6),
            op_code=chance.choice([*OpCode, 999]),
        )
        for _ in range(chance.randrange(2000))
    ]
    found = shown(samples, 1.0)
    total = sum(each.weight for each in samples)
    for table in ("clients", "addresses", "operations"):
        assert sum(float(str(row["requests_per_s"])) for row in rows(found, table)) == total
    wanted = Counter[str]()
    for each in samples:
        if each.path is not None:
            wanted[each.path] += each.weight
    listed = [(row["path"], row["requests_per_s"]) for row in rows(found, "paths")]
    assert dict(listed) == wanted
    assert [count for _, count in listed] == sorted(wanted.values(), reverse=True)
