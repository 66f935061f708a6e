"""What a task returns or does to its process costs its own attempt at most."""

import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.executors import Listening, executor_of, work
from zoolet.jobs.execution.attempts import Outcome, Setup
from zoolet.jobs.execution.executors import Executor

TASKS = '''
import atexit, collections, enum, json, os, random, sys, threading, time, types
from pathlib import Path

class Colour(enum.StrEnum):
    RED = "red"

class Broken(dict):
    def items(self):
        raise KeyboardInterrupt

def value_of(chance, depth=4):
    kind = chance.randrange(20 if depth else 9)
    inner = lambda: value_of(chance, depth - 1)
    names = lambda: [chance.choice("abc") * n for n in range(chance.randrange(4))]
    match kind:
        case 0: return None
        case 1: return chance.choice([True, False])
        case 2: return chance.randrange(-(2**chance.choice([8, 64, 900, 15_000])), 2**70)
        case 3: return chance.choice([0.0, -1.5, 1e308, float("nan"), float("inf")])
        case 4: return chance.choice(["", "text", "\\u0000\\ud800\\U0001f600", "x" * 100_000])
        case 5: return chance.choice([Colour.RED, "x", "y"])
        case 6: return chance.choice([1, 2, b"bytes", object(), {1, 2}, (n for n in range(3))])
        case 7 | 8: return chance.random()
        case 9 | 10 | 11: return [inner() for _ in range(chance.randrange(4))]
        case 12: return tuple(inner() for _ in range(2))
        case 13 | 14: return {name: inner() for name in names()}
        case 15: return collections.UserDict({name: inner() for name in names()})
        case 16: return types.MappingProxyType({name: inner() for name in names()})
        case 17: return collections.OrderedDict((name, inner()) for name in names())
        case 18: return chance.choice([inner(), {1: inner()}, Broken()])
        case 19: return nested(chance.choice([1, 50, 99, 100, 985]))

def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value

def chosen(group, parameters):
    return value_of(random.Random(parameters["seed"]))

def deep(group, parameters):
    return nested(parameters["depth"])

def mapping(group, parameters):
    return collections.UserDict(a=types.MappingProxyType({"b": (1,)}))

def evil(group, parameters):
    return [Broken(a=1)]

def changing(group, parameters):
    """A result that another thread changes while it is encoded."""
    value = {str(n): n for n in range(1000)}
    until = time.monotonic() + 2
    def change():
        n = 0
        while time.monotonic() < until:
            n += 1
            value[str(n % 2000)] = n
            value.pop(str((n + 500) % 2000), None)
    threading.Thread(target=change, daemon=True).start()
    return value

def long_integer(group, parameters):
    sys.set_int_max_str_digits(0)
    return 10 ** parameters["digits"]

def text(group, parameters):
    return "x" * parameters["size"]

def write_into_all(group, parameters):
    """Write into each descriptor, as code that is mistaken about a number may do."""
    for descriptor in range(3, 50):
        try:
            os.write(descriptor, parameters["text"].encode())
        except OSError:
            pass
    return "written"

def close_all(group, parameters):
    os.closerange(3, 1000)
    return "closed"

def close_and_stay(group, parameters):
    """Close pipes, and leave what keeps the others open and the process from exiting."""
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    atexit.register(time.sleep, 600)
    pipes = [fd for fd in range(3, 50) if os.path.realpath(f"/proc/self/fd/{fd}").count("pipe:")]
    for fd in pipes[parameters["from"] : parameters["to"]]:
        os.close(fd)
    return "closed"

def no_recursion(group, parameters):
    sys.setrecursionlimit(sys.getrecursionlimit() * 3)
    value = nested(2500)
    return value

def echo(group, parameters):
    return parameters
'''


@pytest.fixture(autouse=True)
def digits_limit() -> Iterator[None]:
    """A task in a thread may change a limit of this process: let no other test notice."""
    limit = sys.get_int_max_str_digits()
    yield
    sys.set_int_max_str_digits(limit)


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "odd_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_tasks", raising=False)
    return tmp_path


@pytest.fixture(params=["thread", "process"])
def executor(request: pytest.FixtureRequest, tasks: Path) -> Iterator[tuple[Executor, Listening]]:
    assert tasks
    with executor_of(request.param, Setup(import_paths=tuple(sys.path))) as made:
        yield made


@pytest.fixture
def process(tasks: Path) -> Iterator[tuple[Executor, Listening]]:
    assert tasks
    with executor_of("process", Setup(import_paths=tuple(sys.path))) as made:
        yield made


def attempt(executor: tuple[Executor, Listening], task: str, **parameters: Any) -> Outcome:
    """Return the outcome of a task, after that of one that is right."""
    made, listening = executor
    before = len(listening.of("ended"))
    made.give([work("odd", task, module="odd_tasks", **parameters)])
    made.give([work("right", "echo", module="odd_tasks", n=before)])
    *_, odd, right = listening.wait_for("ended", before + 2)
    assert right.result.decode() == {"n": before}
    outcome: Outcome = odd
    return outcome


@pytest.mark.parametrize(
    ("task", "parameters", "complaint"),
    [
        ("deep", {"depth": 101}, "is nested deeper than 100 levels"),
        ("deep", {"depth": 985}, "is nested deeper than 100 levels"),
        ("deep", {"depth": 100_000}, "is nested deeper than 100 levels"),
        ("no_recursion", {}, "is nested deeper than 100 levels"),
        ("long_integer", {"digits": 4300}, "is an integer of more than 4300 digits"),
        ("evil", {}, "KeyboardInterrupt"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_its_attempt(
    executor: tuple[Executor, Listening], task: str, parameters: dict[str, Any], complaint: str
) -> None:
    outcome = attempt(executor, task, **parameters)
    assert outcome.result is None
    assert outcome.error is not None
    assert complaint in outcome.error


def test_results_at_the_limits_are_kept(executor: tuple[Executor, Listening]) -> None:
    mapping = attempt(executor, "mapping").result
    assert mapping is not None
    assert mapping.text == b'{"a":{"b":[1]}}'
    deepest = attempt(executor, "deep", depth=100).result
    assert deepest is not None
    assert deepest.text == b"[" * 100 + b"1" + b"]" * 100
    longest = attempt(executor, "long_integer", digits=4299).result
    assert longest is not None
    assert longest.text == b"1" + b"0" * 4299


def test_a_result_that_changes_while_it_is_written(executor: tuple[Executor, Listening]) -> None:
    outcome = attempt(executor, "changing")
    assert outcome.error is not None or isinstance(json.loads(outcome.result.text), dict)  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(4))
def test_any_result_is_refused_or_read_as_it_was_written(
    executor: tuple[Executor, Listening], seed: int
) -> None:
    made, listening = executor
    import odd_tasks  # type: ignore[import-not-found]  # noqa: PLC0415

    seeds = range(seed * 50, seed * 50 + 50)
    made.give([work(f"{n}", "chosen", module="odd_tasks", seed=n) for n in seeds])
    outcomes = listening.wait_for("ended", 50)
    kept = 0
    for number, outcome in zip(seeds, outcomes, strict=True):
        if outcome.result is None:
            assert outcome.error
            continue
        kept += 1
        value = odd_tasks.value_of(random.Random(number))
        assert json.loads(outcome.result.text) == json.loads(json.dumps(value, default=dict))
    assert 10 < kept < 50


@pytest.mark.parametrize("size", [0, 100_000, 20_000_000])
def test_a_large_result_passes(process: tuple[Executor, Listening], size: int) -> None:
    outcome = attempt(process, "text", size=size)
    assert outcome.result is not None
    assert len(outcome.result.text) == size + 2


def test_the_reads_of_a_large_result_grow_with_its_size_and_no_faster(
    process: tuple[Executor, Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    read = os.read

    def counted(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        sizes.append(len(data))
        return data

    monkeypatch.setattr("zoolet.jobs.execution.child_process.os.read", counted)
    attempt(process, "text", size=8_000_000)
    assert 8_000_000 < sum(sizes) < 8_100_000


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "\n",
        '{"ended": "nothing"}\n',
        '{"started": 1}\n',
        '{"started": [1]}\n',
        '{"begun": {"a": []}}\n',
        '{"started": "odd", "cache_hit": true, "dropped": 5}\n',
        '{"started": "odd", "cache_hit": true, "dropped": [["d", 5]]}\n',
        '[1]\n{"bytes": 100}\n',
        "\ud7ff",
    ],
)
def test_a_task_that_writes_into_the_pipes_costs_its_own_attempt(
    process: tuple[Executor, Listening], text: str
) -> None:
    outcome = attempt(process, "write_into_all", text=text)
    assert outcome.error is None or "its process" in outcome.error


def test_a_task_that_closes_the_pipes_costs_its_own_attempt(
    process: tuple[Executor, Listening],
) -> None:
    outcome = attempt(process, "close_all")
    assert outcome.error is not None
    assert "its process died" in outcome.error


@pytest.mark.parametrize("pipes", [(0, 9), (0, 1), (1, 2), (2, 3)])
def test_a_task_that_closes_pipes_and_leaves_threads_and_children_ends(
    process: tuple[Executor, Listening], pipes: tuple[int, int]
) -> None:
    """Its own attempt may have ended well: its result may be told before the pipe is needed."""
    outcome = attempt(process, "close_and_stay", **dict(zip(("from", "to"), pipes, strict=True)))
    assert outcome.error is None or "its process died" in outcome.error
