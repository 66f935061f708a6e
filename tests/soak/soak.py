"""A soak test: faults while users use the queue, then an end to which everything must come.

In the first phase faults are made. In the second phase there are no faults: everything that was
submitted must come to an end. Then the workers stop, and the invariants are checked.
"""

import logging
import re
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.soak.faults import WEIGHTS, Faults
from tests.soak.feature_users import FeatureUsers
from tests.soak.history import History, read_histories
from tests.soak.idleness import Interval, Observed, idle_executors
from tests.soak.invariants import Facts, all_checks
from tests.soak.plan import FaultStream
from tests.soak.processes import ROOT, now_ms
from tests.soak.runs import read_runs
from tests.soak.starvation import LATENESS_FACTOR
from tests.soak.users import Users, check_stored_results
from tests.soak.world import World
from zoolet.jobs import Dispatcher
from zoolet.jobs.records.texts import cut_middle

END_S = 120.0
"""How long after the last fault everything must have come to an end."""
SHARDS = (1, 1, 4)
SHOWN = 8
_HIDES_STARTS = re.compile("killed|frozen|workers lost|workers held|workers cut off")
"""The faults after which a worker may not know that it has recorded a start."""
_SHOWN_CHARACTERS = 800
STORED_CHECKED = 200


class Report(NamedTuple):
    """What a soak test found: a text for people, and what was wrong."""

    text: str
    problems: list[str]


def soak(home: Path, seed: int, seconds: float, workers: int = 2) -> Report:
    """Run a soak test for about this long, and some time for the end."""
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)
    shards = SHARDS[seed % len(SHARDS)]
    print(f"soak test: seed {seed}, {seconds:g} s, {workers} workers, {shards} shards", flush=True)
    with World(home, workers, shards) as world:
        users, faults = Users(world, seed), Faults(world)
        features = FeatureUsers(world, seed)
        features.prepare()
        world.start_workers(features.kinds())
        users.start()
        features.start()
        _make_faults(faults, FaultStream(seed, WEIGHTS), seconds)
        users.stop()
        features.stop()
        with Dispatcher(world.server.hosts, ROOT) as dispatcher:
            for dataset in (None, "soak"):
                dispatcher.queue.pause(dataset, paused=False)
        _wait_for_end(world, users)
        features.settle()
        until_ms = now_ms()
        world.stop_workers()
        lateness = world.starvation.frozen()
        world.server.stop()
        histories = read_histories(world.server.directory / "data", [ROOT, *features.roots])
        history = histories[ROOT]
        stored = [name for name, found in history.jobs.items() if found[-1].is_stored]
        world.server.start()
        check_stored_results(world, stored[-STORED_CHECKED:], home)
    runs = read_runs(home)
    kills = sum(count for name, count in faults.counts.items() if _HIDES_STARTS.search(name))
    kills += world.restarts
    problems = [("while it ran", world.problems)]
    ends = _ends_of_workers(world, history)
    facts = Facts(history, runs, users.planned, users.results, kills, ends, lateness)
    problems += all_checks(facts)
    away = [Interval(w.begin_ms, w.end_ms or until_ms) for w in world.unreachable.all]
    observed = Observed(history, runs, world.workers, away, world.last_seen_ms, lateness, until_ms)
    problems.append(("idle executors", idle_executors(observed)))
    counts = Counter({"jobs": len(history.jobs), "runs": sum(map(len, runs.values()))})
    counts["worker processes"] = len(world.workers)
    kinds = Counter(job.kind for plan in users.planned.values() for job in plan.jobs)
    problems += features.problems(histories)
    counted = {"faults": faults.counts, "jobs": kinds, "users": users.counts}
    counted |= {"features": features.stage.counts, "in all": counts}
    options = f"--seed {seed} --seconds {seconds:g} --workers {workers}"
    text = report_text(options, problems, counted, world.starvation.total_ms())
    return Report(text, [one for _, found in problems for one in found])


def _make_faults(faults: Faults, stream: FaultStream, seconds: float) -> None:
    end = time.monotonic() + seconds
    for fault in stream:
        if time.monotonic() + fault.wait_s > end:
            break
        time.sleep(fault.wait_s)
        faults.make(fault)
    time.sleep(max(0.0, end - time.monotonic()))
    faults.wait()


def _wait_for_end(world: World, users: Users) -> None:
    """Wait until everything that was submitted has ended; time without the processor is added."""
    late_ms = world.starvation.total_ms()
    deadline = time.monotonic() + END_S
    while not users.wait(time.monotonic() + 1):
        late_s = (world.starvation.total_ms() - late_ms) / 1000
        if time.monotonic() > deadline + LATENESS_FACTOR * late_s:
            world.problem(
                f"{END_S:.0f} s after the last fault these batches have not ended:"
                f" {users.outstanding}"
            )
            break


def _ends_of_workers(world: World, history: History) -> dict[str, int]:
    """Return when workers were killed, or their end was seen, by worker id."""
    ended_ms = {one.pid: one.killed_ms or one.ended_ms for one in world.workers}
    ends = {worker: ended_ms.get(life.pid) for worker, life in history.workers.items()}
    return {worker: end_ms for worker, end_ms in ends.items() if end_ms is not None}


def report_text(
    options: str,
    problems: list[tuple[str, list[str]]],
    counts: dict[str, Counter[str]],
    starved_ms: int,
) -> str:
    """Return the text of a report; ``options`` are those that repeat the run."""
    state = "FAILED" if any(found for _, found in problems) else "passed"
    # The seed and the problems come first: some places show only the beginning of it.
    lines = [f"python -m tests.soak {options}: {state}"]
    for title, found in sorted(problems, key=lambda one: not one[1]):
        lines.append(f"{title}: {len(found) or 'no'} problem{'s' * (len(found) != 1)}")
        lines += [f"  {cut_middle(one, _SHOWN_CHARACTERS)}" for one in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"  ... and {len(found) - SHOWN} more")
    for title, counted in counts.items():
        lines.append(f"{title}:")
        lines += [f"  {count:7,} {name}" for name, count in sorted(counted.items())]
    lines.append(f"this machine ran nothing of it for {starved_ms / 1000:.1f} s")
    return "\n".join(lines)
