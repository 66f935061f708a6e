"""Random and adversarial values for every kind of znode of a queue.

Each value comes from a `random.Random`, so a seed repeats them. Nothing here talks to a server.
"""

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

DEEP = 50_000
"""Levels of nesting that no parser of JSON in Python follows."""
LARGE_BYTES = 600_000

_TEXTS = (
    "",
    "x",
    "x" * 5000,
    "[/b][red]\x1b[31m\x1b]0;title\x07\r\n",
    "\u202e\u0000\ufeff",
    "../..",
    "a/b",
    "%",
    "\ud800",
    "pipe_tasks:number",
    "pipe_tasks:trouble",
    "no_such_module:run",
    "json:decoder.nothing",
    ":",
    "SUCCESSFUL",
    "RUNNING",
)
_NUMBERS = (0, -1, 1, 7, 2**31, -(2**31), 2**63, 10**30, 253402214400000, 1795852800 * 10**9)
_OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    {"": None},
)


def any_value(chance: random.Random, depth: int = 2) -> Any:
    """Return something that JSON can hold, and some things that it cannot."""
    kind = chance.randrange(5 if depth else 3)
    if kind == 0:
        return chance.choice(_TEXTS)
    if kind == 1:
        return chance.choice(_NUMBERS)
    if kind == 2:
        return chance.choice(_OTHERS)
    if kind == 3:
        return [any_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {
        str(any_value(chance, 0)): any_value(chance, depth - 1) for _ in range(chance.randrange(4))
    }


def any_bytes(chance: random.Random) -> bytes:
    """Return bytes that are no JSON, or no object, or nested too deep, or large."""
    return chance.choice(
        (
            b"",
            b"\xff\xfe\x00",
            b"{",
            b"null",
            b"[]",
            b'"text"',
            b"1" * 5000,
            b"\xef\xbb\xbf{}",
            b"[" * DEEP,
            b"[" * DEEP + b"]" * DEEP,
            b'{"a":' * DEEP,
            b'"' + b"x" * LARGE_BYTES + b'"',
            chance.randbytes(chance.randrange(300)),
            json.dumps(any_value(chance)).encode(),
        )
    )


def changed(chance: random.Random, good: dict[str, Any]) -> bytes:
    """Return a good object in which one to three things are wrong."""
    value = dict(good)
    for _ in range(chance.randint(1, 3)):
        name = chance.choice([*good, *good, "something else"])
        how = chance.randrange(8)
        if how == 0:
            value.pop(name, None)
        elif how == 1 and isinstance(value.get(name), dict | list):
            value[name] = _with_wrong_part(chance, value[name])
        else:
            value[name] = any_value(chance)
    encoded = json.dumps(value)
    if chance.random() < 0.05:
        encoded = encoded[: chance.randrange(len(encoded))]
    if chance.random() < 0.05:
        deep = "[" * chance.choice((500, 990, 3000)) + "]" * 3000
        encoded = encoded.replace("{", '{"deep": ' + deep[: deep.index("]") * 2] + ", ", 1)
    return encoded.encode()


def _with_wrong_part(chance: random.Random, value: Any) -> Any:
    if isinstance(value, dict):
        return value | {chance.choice([*value, "more"]): any_value(chance)}
    return [*value, any_value(chance)]


JOB: dict[str, Any] = {
    "task": "pipe_tasks:number",
    "dataset": "flights",
    "groupid": "1",
    "parameters": {"n": 1},
    "priority": 0,
    "max_attempts": 2,
    "key": "0" * 64,
    "submission": "fuzz-0",
    "submitted_ms": 1795852800000,
    "backoff_ms": 10,
    "timeout_ms": 5000,
    "not_before_ms": 1,
    "expires_ms": 4102444800000,
    "batch": "fuzz",
    "chained": True,
    "receives": None,
    "soft_timeout_ms": 4000,
    "jitter_percent": 50,
    "tags": [],
    "limit_key": "k",
    "signature": None,
    "limit": "l1",
    "slots": ["l1/slots/all-0"],
    "state": "PENDING",
    "worker": None,
    "attempts": 0,
    "progress": {"done": 1, "total": 3.5, "note": "reading"},
    "errors": [],
    "result": None,
    "stored": None,
    "cache_hit": None,
    "taken_ms": None,
    "started_ms": None,
    "finished_ms": None,
}
ERROR = {"attempt": 1, "worker": "w", "message": "it failed"}
CONTROL = {"paused": False, "paused_datasets": ["other"], "cancellations": 1}
SETTINGS: dict[str, Any] = {
    "shards": 1,
    "inline_limit_bytes": 32768,
    "result_store": None,
    "keep_done_ms": None,
    "keep_done_jobs": None,
    "keep_failed_ms": None,
    "history": None,
    "max_waiting_jobs": None,
}
WORKER: dict[str, Any] = {
    "host": "here",
    "pid": 1,
    "executors": 2,
    "kind": "processes",
    "groups": 0,
    "successful": 1,
    "failed_attempts": 0,
    "failed": 0,
    "lost": 0,
    "cache_hits": 1,
    "cache_misses": 1,
    "busy_s": 1.5,
}
SCHEDULE: dict[str, Any] = {
    "request": {"task": "pipe_tasks:number", "parameters": {"n": 1}, "max_attempts": 2},
    "cron": "* * * * * *",
    "every_ms": None,
    "timezone": "Europe/Berlin",
    "start_ms": 0,
    "missed": "once",
    "missed_most": 3,
    "grace_ms": 1000,
    "overlap": "queue",
    "due_parameter": "due_ms",
    "paused": False,
    "last_due_ms": 1795852800000,
    "queued": [1795852800000],
    "runs": [{"due_ms": 1795852800000, "job": None, "reason": "skipped"}],
    "skipped": 0,
}
DATASET: dict[str, Any] = {
    "loader": "files",
    "location": "/nothing",
    "options": {"version": "stat", "pattern": "*"},
    "revision": "0" * 16,
    "chunks": 1,
    "groups": 1,
    "rows": 10,
    "size_bytes": None,
    "created_ms": 1795852800000,
    "refreshed_ms": 1795852800000,
}
SOURCE: dict[str, Any] = {
    "loader": "files",
    "options": {"version": "stat", "pattern": "*"},
    "columns": None,
    "version": "v",
    "position": {"path": "/nothing", "stat": "1.1"},
}
LIMIT: dict[str, Any] = {"per_second": 1000.0, "task": "none", "per_key": False}
"""A limit that does not apply to the good jobs."""
CHAIN: dict[str, Any] = {
    "after": ["fuzz", "entry-000-flights:1-0000000001"],
    "when": "all succeeded",
}
BATCH: dict[str, Any] = {
    "jobs": 1,
    "submitted_ms": 1795852800000,
    "after": "other",
    "dependencies": None,
}


def job(chance: random.Random, place: str) -> bytes:
    """Return what may stand where a job stands."""
    states = {"owned": "RUNNING", "done": "SUCCESSFUL"}
    good = JOB | {
        "state": states.get(place, "PENDING"),
        "worker": (place == "owned" and "w") or None,
    }
    if chance.random() < 0.3:
        good |= {"errors": [ERROR], "attempts": 1}
    if chance.random() < 0.2:
        good |= {"source": _with_wrong_part(chance, SOURCE)}
    if chance.random() < 0.2:
        good |= {"trace": chance.choice(["", "no trace", f"00-{'a' * 32}-{'b' * 16}-01", 7])}
    if chance.random() < 0.2:
        return any_bytes(chance)
    return changed(chance, good)


def job_name(chance: random.Random, sequence: int) -> str:
    """Return a name as jobs have it, or almost."""
    good = f"entry-{chance.choice((0, 5, 999)):03d}-flights:{chance.randrange(3)}-{sequence:010d}"
    return chance.choice(
        (
            *(good,) * 12,
            f"entry-1000-flights:1-{sequence:010d}",
            f"entry-000-%ff%fe:1-{sequence:010d}",
            f"entry-000-%2e%2e:%2F-{sequence:010d}",
            f"entry-000-a:b--{sequence}",
            f"entry-000-a:b-{sequence}" + "0" * 30,
            f"entry-000-[/b]\u202e:[red]-{sequence:010d}",
            f"entry-000-{sequence}",
            f"entry-{sequence}",
            f"something-{sequence}",
        )
    )


class Write(NamedTuple):
    """A value to write: the path below the queue's root, and the data."""

    path: str
    data: bytes


def _limit(chance: random.Random, number: int) -> Write:
    data = changed(chance, LIMIT) if chance.random() < 0.7 else any_bytes(chance)
    return Write(f"limits/l{number % 5}", chance.choice((data, data, b"")))


def _part_of_limit(chance: random.Random, number: int) -> Write:
    """Return a slot, a time of the next start, or an entry of a waiting job."""
    key = chance.choice(("none", "=k", "=%ff"))
    slot = chance.choice((f"all-{number % 3}", "all-", "=k-1", "all-99999999999", "x"))
    part, data = chance.choice(
        (
            (f"slots/{slot}", any_bytes(chance)),
            ("next/all", chance.choice((b"9" * 30, b"9" * 19, b"-1", any_bytes(chance)))),
            (f"waiting/{key}/{job_name(chance, number)}", b""),
        )
    )
    return Write(f"limits/l{number % 5}/{part}", data)


def _names(chance: random.Random) -> bytes:
    entries = [any_value(chance) for _ in range(2)] + [["entry-000-a:b-1", "NEW"]]
    return json.dumps(chance.choice((entries, [[1]], [["a"]], {"a": 1}))).encode()


def _log(chance: random.Random) -> bytes:
    entry = {chance.choice(("SUCCESSFUL", "NOTHING", "")): any_value(chance)}
    return chance.choice((json.dumps(entry).encode(), any_bytes(chance)))


def _note(chance: random.Random, number: int) -> bytes:
    value = chance.choice((["attempt", 1], ["attempt", any_value(chance)], any_value(chance)))
    return chance.choice(
        (json.dumps({job_name(chance, number): value}).encode(), any_bytes(chance))
    )


def _chain(chance: random.Random, number: int) -> Write:
    after = chance.choice(
        (
            b"",
            b"..",
            b"a/b",
            b"\xff",
            b"fuzz",
            f"c{number}".encode(),
            b"\x00",
            b"x" * 300,
            changed(chance, CHAIN),
            changed(chance, CHAIN),
        )
    )
    return Write(f"chains/c{number}", after)


def _groups(chance: random.Random) -> bytes:
    group = ["a", "v", 1, 10, {"path": "/nothing", "stat": "1.1"}]
    group[chance.randrange(5)] = any_value(chance)
    return chance.choice((json.dumps([group]).encode(), any_bytes(chance)))


def _kinds() -> dict[str, Callable[[random.Random, int], Write]]:
    def in_place(place: str) -> Callable[[random.Random, int], Write]:
        return lambda chance, n: Write(f"{place}/{job_name(chance, n)}", job(chance, place))

    def with_child(chance: random.Random, number: int) -> Write:
        # A znode with children cannot be deleted, and so not be moved.
        place = chance.choice(("unowned", "deferred", "done"))
        return Write(f"{place}/{job_name(chance, number)}/child", any_bytes(chance))

    def either(path: str, good: dict[str, Any]) -> Callable[[random.Random, int], Write]:
        return lambda chance, number: Write(
            path.format(number=number),
            changed(chance, good) if chance.random() < 0.7 else any_bytes(chance),
        )

    return {
        "note of failures": lambda c, n: Write(f"failures/f-{n:010d}", _note(c, n)),
        "dataset": either("datasets/d{number}", DATASET),
        "dataset's groups": lambda c, n: Write(f"datasets/d{n - n % 2}/{'0' * 16}-0", _groups(c)),
        "unowned": in_place("unowned"),
        "unowned again": in_place("unowned"),
        "deferred": in_place("deferred"),
        "owned": in_place("owned"),
        "done": in_place("done"),
        "child": with_child,
        "key": either("keys/{number:064x}", {"submission": "s-0", "name": "n", "batch": "b"}),
        "batch": either("batches/b{number}", BATCH),
        "batch's names": lambda c, n: Write(f"batches/b{n - n % 2}/jobs-000000", _names(c)),
        "batch's log": lambda c, n: Write(f"batches/b{n - n % 2}/log/e-0000000000", _log(c)),
        "chain": _chain,
        "worker": either("workers/fuzz-{number}", WORKER),
        "keeper": lambda c, n: Write(f"keeper/{c.choice(('w-', 'x', 'w-0'))}{n}", any_bytes(c)),
        "unknown": lambda c, n: Write(
            f"{c.choice(('unknown', 'deferred-index'))}{n}", any_bytes(c)
        ),
        "retry": either("retries/r{number}", {"began_ms": 1795852800000, "filter": {}}),
        "schedule": either("schedules/s{number}", SCHEDULE),
        "limit": _limit,
        "part of a limit": _part_of_limit,
        "control": either("control", CONTROL),
        "settings": either("settings", SETTINGS),
    }


KINDS = _kinds()


def writes(chance: random.Random, first: int, count: int) -> list[Write]:
    """Return values to write, each with a number of its own from ``first`` on.

    No control pauses the queue, and no settings change where jobs stand.
    """
    found = []
    for number in range(first, first + count):
        write = KINDS[chance.choice(list(KINDS))](chance, number)
        if write.path == "control" and _is_true(write.data, "paused"):
            continue
        if write.path.startswith("limits/l") and write.path.count("/") == 1 and _limits(write.data):
            continue
        if write.path == "settings" and not _is_one_shard(write.data):
            continue
        found.append(write)
    return found


def _is_true(data: bytes, name: str) -> bool:
    """Say whether an object has something at this name that counts as true."""
    value = _object(data)
    return isinstance(value, dict) and bool(value.get(name))


def _limits(data: bytes) -> bool:
    """Say whether a limit is for the good jobs."""
    value = _object(data)
    return isinstance(value, dict) and value.get("task") != "none"


def _is_one_shard(data: bytes) -> bool:
    value = _object(data)
    return not isinstance(value, dict) or value.get("shards", 1) in (0, 1)


def _object(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
