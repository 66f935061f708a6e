"""How calls of a client are timed: one at a time, from threads, or with many outstanding.

A program that measures one client gives its scenarios to `main`. This module must import only the
standard library, because programs of other environments use it.
"""

import asyncio
import json
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import cycle
from typing import TypeVar

OUTSTANDING = 1000
THREADS = 4
WARMUP_S = 0.3
ZNODES = 1000
DATA = b"x" * 100
PATHS = [f"/bench/n{number:07d}" for number in range(ZNODES)]
"""The znodes that ``benchmarks/native/load.c`` makes."""

A = TypeVar("A")
F = TypeVar("F")
Scenario = Callable[[int, float], float]
"""Measures calls to the server on a port for a number of seconds; returns one figure."""


def p50_us(call: Callable[[A], object], arguments: Sequence[A], seconds: float) -> float:
    """Return the median time of a call, one after the other, in microseconds."""
    clock, taken_s = time.perf_counter, [0.0]
    began_s = clock()
    warm_s = began_s + WARMUP_S
    end_s = warm_s + seconds
    for argument in cycle(arguments):
        call(argument)
        now_s = clock()
        if began_s >= warm_s:
            taken_s.append(now_s - began_s)
        began_s = now_s
        if now_s >= end_s:
            break
    return statistics.median(taken_s) * 1e6


async def async_p50_us(
    call: Callable[[A], Awaitable[object]], arguments: Sequence[A], seconds: float
) -> float:
    """Return the median time of a call that is awaited, one after the other, in microseconds."""
    clock, taken_s = time.perf_counter, [0.0]
    began_s = clock()
    warm_s = began_s + WARMUP_S
    end_s = warm_s + seconds
    for argument in cycle(arguments):
        await call(argument)
        now_s = clock()
        if began_s >= warm_s:
            taken_s.append(now_s - began_s)
        began_s = now_s
        if now_s >= end_s:
            break
    return statistics.median(taken_s) * 1e6


def threads_us(
    calls: Sequence[Callable[[A], object]], arguments: Sequence[A], seconds: float
) -> float:
    """Return the elapsed time divided by all calls of the threads, in microseconds.

    Each of ``calls`` gets a thread of its own, which makes one call after the other.
    """
    counts = [0] * len(calls)
    is_over = threading.Event()

    def work(number: int) -> None:
        call = calls[number]
        for argument in cycle(arguments):
            call(argument)
            counts[number] += 1
            if is_over.is_set():
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    time.sleep(WARMUP_S)
    before, began_s = sum(counts), time.perf_counter()
    time.sleep(seconds)
    after, ended_s = sum(counts), time.perf_counter()
    is_over.set()
    for thread in threads:
        thread.join()
    return (ended_s - began_s) / max(1, after - before) * 1e6


def outstanding_per_s(
    start: Callable[[A], F],
    finish: Callable[[F], object],
    arguments: Sequence[A],
    seconds: float,
) -> float:
    """Return the calls a second of which OUTSTANDING are always outstanding.

    ``start`` begins a call and returns its future, ``finish`` waits for this future. The oldest
    call is finished first; then another one begins.
    """
    clock, supply = time.perf_counter, cycle(arguments)
    window = deque(start(next(supply)) for _ in range(OUTSTANDING))
    count, began_s = 0, clock()
    measured_from_s = began_s + WARMUP_S
    end_s = measured_from_s + seconds
    while (now_s := clock()) < end_s:
        finish(window.popleft())
        window.append(start(next(supply)))
        if now_s < measured_from_s:
            began_s = now_s
        else:
            count += 1
    for future in window:
        finish(future)
    return count / (now_s - began_s)


async def tasks_per_s(
    call: Callable[[A], Awaitable[object]], arguments: Sequence[A], seconds: float
) -> float:
    """Return the calls a second of OUTSTANDING tasks, each of which awaits one after the other."""
    supply = cycle(arguments)
    count, is_over = 0, False

    async def work() -> None:
        nonlocal count
        while not is_over:
            await call(next(supply))
            count += 1

    tasks = [asyncio.create_task(work()) for _ in range(OUTSTANDING)]
    await asyncio.sleep(WARMUP_S)
    before, began_s = count, time.perf_counter()
    await asyncio.sleep(seconds)
    after, ended_s = count, time.perf_counter()
    is_over = True
    await asyncio.gather(*tasks)
    return (after - before) / (ended_s - began_s)


def batches_per_s(call: Callable[[A], object], arguments: Sequence[A]) -> float:
    """Return how many of the calls, each made once and one after the other, end a second."""
    warm, measured = arguments[: len(arguments) // 10], arguments[len(arguments) // 10 :]
    for argument in warm:
        call(argument)
    began_s = time.perf_counter()
    for argument in measured:
        call(argument)
    return len(measured) / (time.perf_counter() - began_s)


def main(scenarios: Mapping[str, Scenario]) -> None:
    """Run the scenario that the arguments name, and print its figure: SCENARIO PORT SECONDS."""
    scenario, port, seconds = sys.argv[1:4]
    sys.stdout.write(json.dumps(scenarios[scenario](int(port), float(seconds))) + "\n")
