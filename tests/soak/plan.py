"""What a soak test does, as its seed decides: kinds of jobs, batches, faults.

The jobs and the faults come from two random streams of the same seed, so that the speed of one does
not change the choices of the other. Talks to no server and knows no clock.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

TASK = "soak_tasks:run"
MISSING_TASKS = ("soak_tasks:no_such_function", "no_such_module:run", "no entry point")
GROUPS = 6
BATCH_JOBS_MOST = 12

Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job.

    Attributes:
        weight: how often it is chosen, compared with the others.
        draw: returns the task's parameters.
        error: pattern of the error that ends an attempt; None if the task succeeds.
        is_certain: whether an attempt that nobody disturbs always ends as ``error`` says.
        timeout_ms: range of the timeout; None without one.
        is_endless: only a cancellation ends it.
    """

    weight: float
    draw: Callable[[random.Random], Parameters]
    error: str | None = None
    is_certain: bool = True
    timeout_ms: tuple[int, int] | None = None
    is_endless: bool = False


def _pick(name: str, *values: Any) -> Callable[[random.Random], Parameters]:
    return lambda chance: {name: chance.choice(values)}


def _short(chance: random.Random) -> Parameters:
    return {"sleep_s": round(chance.choice((0, 0, 0.01, 0.1)) * chance.random(), 4)}


KINDS: dict[str, Kind] = {
    "return": Kind(34, _short),
    "sleep": Kind(16, lambda chance: {"sleep_s": round(chance.uniform(0.2, 2.0), 2)}),
    "large result": Kind(4, lambda chance: {"size": chance.randrange(40_000, 400_000)}),
    "raise": Kind(
        6,
        lambda chance: {
            "error": chance.choice(("value", "exit", "interrupt", "memory", "recursion")),
            "size": chance.choice((0, 0, 3000)),
        },
        error="this task raises",
    ),
    "hang": Kind(
        5,
        _pick("how", "asleep", "deaf", "locked", "spin"),
        error="timeout",
        timeout_ms=(200, 1500),
    ),
    "endless": Kind(3, lambda _: {"how": "asleep"}, error="cancelled", is_endless=True),
    "exit": Kind(3, _pick("status", 0, 1, 3, 255), error="exit status"),
    "segfault": Kind(2, lambda _: {}, error="SIGSEGV"),
    "abort": Kind(1, lambda _: {}, error="SIGABRT"),
    # 40 is a real-time signal, for which Python has no name. Executors ignore SIGTERM and SIGINT.
    "own signal": Kind(
        3, _pick("number", 9, 40, 10, 13), error="died|SIG|signal", is_certain=False
    ),
    "own stop": Kind(2, _pick("number", 2, 15)),
    "fork": Kind(2, lambda chance: {"children": chance.randint(1, 3)}),
    "subprocess": Kind(2, lambda _: {}),
    "print": Kind(
        5,
        lambda chance: {
            "how": chance.choice(("lines", "no end", "errors", "bytes", "error bytes")),
            "size_bytes": chance.choice((100, 10_000, 200_000, 3_000_000)),
        },
    ),
    "vandal": Kind(
        4,
        _pick(
            "how",
            *("streams", "directory", "handlers", "thread", "atexit"),
            *("std descriptors", "all descriptors"),
        ),
        error=".",
        is_certain=False,
    ),
    "bad result": Kind(
        4,
        lambda chance: {
            "how": chance.choice(
                ("user dict", "proxy", "nan", "bytes", "large number", "half character", "keys")
                + ("nested",) * 3
            ),
            "depth": chance.choice((50, 400, 985, 1500)),
        },
        error="result",
        is_certain=False,
    ),
    "kill worker": Kind(
        1, _pick("stays", True, False), error="worker .* lost|died", is_certain=False
    ),
    "missing task": Kind(1.5, lambda _: {}, error="import|entry point", is_endless=True),
    "broken data": Kind(2, lambda _: {}, error="loader fails"),
}
_TASK_KINDS = {
    "sleep": "return",
    "large result": "return",
    "endless": "hang",
    "own signal": "signal",
    "own stop": "signal",
}
"""Which function of `tests.soak.soak_tasks` a kind runs, if it has another name."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job to submit: its number, its kind, and the arguments of its `JobRequest`."""

    number: int
    kind: str
    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A batch to submit, and what is done to it.

    Attributes:
        after: how many batches before it is the one that it waits for; None without one.
        cancel_after_s: when it is cancelled after its submission; None is never.
        retries: whether its FAILED jobs are retried once.
    """

    name: str
    jobs: list[JobPlan] = field(default_factory=list)
    after: int | None = None
    cancel_after_s: float | None = None
    retries: bool = False


class JobStream:
    """Yields batches without end."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"jobs {seed}")
        self._numbers = 0
        self._batches = 0

    def __iter__(self) -> Iterator[BatchPlan]:
        return self

    def __next__(self) -> BatchPlan:
        chance = self._chance
        self._batches += 1
        count = chance.choice((1, 1, chance.randint(2, BATCH_JOBS_MOST)))
        jobs = [self._job() for _ in range(count)]
        if count > 2 and chance.random() < 0.2:
            jobs.append(jobs[0])  # the same work twice in one batch
        is_endless = any(KINDS[job.kind].is_endless for job in jobs)
        cancels = is_endless or chance.random() < 0.08
        return BatchPlan(
            f"batch-{self._batches:06d}",
            jobs,
            after=chance.randint(1, 3) if chance.random() < 0.15 else None,
            cancel_after_s=round(chance.uniform(0.1, 4.0), 2) if cancels else None,
            retries=chance.random() < 0.1,
        )

    def _job(self) -> JobPlan:
        chance = self._chance
        self._numbers += 1
        name = chance.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]
        kind = KINDS[name]
        parameters = {"id": self._numbers, "kind": _TASK_KINDS.get(name, name)}
        request: dict[str, Any] = {
            "task": chance.choice(MISSING_TASKS) if name == "missing task" else TASK,
            "dataset": "broken" if name == "broken data" else chance.choice(("soak", "a-b:c/d")),
            "groupid": str(chance.randrange(GROUPS)),
            "parameters": parameters | kind.draw(chance),
            "priority": chance.choice((0, 0, 1, 500, 999)),
            "max_attempts": chance.choice((1, 1, 2, 3)),
            "idempotency_key": f"work {self._numbers}",
        }
        if kind.timeout_ms is not None:
            request["timeout_ms"] = chance.randint(*kind.timeout_ms)
        if chance.random() < 0.15:
            request["backoff_ms"] = chance.randint(1, 1500)
        return JobPlan(self._numbers, name, request | self._times())

    def _times(self) -> dict[str, int]:
        """Return delays, in ms from the submission."""
        chance = self._chance
        times = {}
        if chance.random() < 0.12:
            times["not_before_ms"] = chance.randint(1, 4000)
        if chance.random() < 0.05:
            times["expires_ms"] = chance.randint(1, 6000)
        return times


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to make.

    Attributes:
        wait_s: how long after the one before.
        name: which one; `tests.soak.faults` has them.
        target: which worker, by the remainder of a division.
        lasts_s: how long it lasts, if it ends by itself.
        variant: a random number for what else there is to choose.
    """

    wait_s: float
    name: str
    target: int
    lasts_s: float
    variant: float


class FaultStream:
    """Yields faults without end: storms of them, with a calm after each."""

    def __init__(self, seed: int, weights: dict[str, float]) -> None:
        self._chance = random.Random(f"faults {seed}")
        self._weights = weights
        self._left = 5

    def __iter__(self) -> Iterator[Fault]:
        return self

    def __next__(self) -> Fault:
        chance = self._chance
        wait_s = chance.uniform(0.1, 1.2)
        if not self._left:
            self._left = chance.randint(3, 12)
            # In a calm, executors that were left stuck are idle for longer than they may be.
            wait_s = chance.uniform(6.0, 12.0)
        self._left -= 1
        name = chance.choices(list(self._weights), list(self._weights.values()))[0]
        return Fault(
            round(wait_s, 2),
            name,
            chance.randrange(1000),
            round(chance.choice((0.3, 1.0, 3.0)) * chance.uniform(0.3, 1.5), 2),
            chance.random(),
        )
