"""Both clients over a network that fails, for seeds: each call ends once, no event is lost.

`history.py` lists what is checked. The long run: ``make sim-client``; one seed again:
``make sim-client SEED=n``.
"""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.client_simulation.async_world import AsyncWorld
from tests.client_simulation.thread_world import ThreadWorld
from tests.support.interpreted import interpreted_only

AnyWorld = AsyncWorld | ThreadWorld
WORLDS: dict[str, Callable[[int], AnyWorld]] = {"asyncio": AsyncWorld, "threads": ThreadWorld}
CHUNK = 25
# Only interpreted modules let the simulation replace their threads, clock and sockets.
THREADS = pytest.param("threads", marks=interpreted_only)
kinds = pytest.mark.parametrize("kind", ["asyncio", THREADS])
STORY_LINES = 80

REPEAT = """
import sys
from tests.client_simulation.test_client_simulation import WORLDS, run
print(run(sys.argv[1], int(sys.argv[2])))
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        first = metafunc.config.getoption("--first-client-world")
        end = first + metafunc.config.getoption("--client-worlds")
        starts = range(first, end, CHUNK)
        ranges = [range(start, min(start + CHUNK, end)) for start in starts]
        metafunc.parametrize("seeds", ranges, ids=str)


def run(kind: str, seed: int) -> str:
    """Run a world; return its story."""
    world = WORLDS[kind](seed)
    try:
        world.run()
    except BaseException as error:
        story = "\n".join(world.story[-STORY_LINES:])
        again = f"make sim-client SEED={seed}"
        raise AssertionError(f"{again} ({kind}): {error!r} after\n{story}") from error
    return "\n".join(world.story)


@kinds
def test_each_call_ends_once_and_no_event_is_lost(kind: str, seeds: range) -> None:
    for seed in seeds:
        run(kind, seed)


@kinds
def test_the_faults_happen(kind: str) -> None:
    """A simulation in which nothing fails would prove nothing."""
    stories = "\n".join(run(kind, seed) for seed in range(60))
    for wanted in (
        "state suspended",
        "state expired",
        "ConnectionLossError",
        "SessionExpiredError",
        "DeadlineError",
        "the request was not sent",
        "NoNodeError",
        "NoWatcherError",
        "cancel GET_DATA",
        "cancel SET_DATA",
        r"notice for data \S+: Resynced",
        r"notice for child \S+: Event",
        r"notice for persistent \S+: Event",
        r"notice for persistent \S+: Resynced",
        r"notice for recursive \S+: Resynced",
        "zxid=-1",
    ):
        assert re.search(wanted, stories), wanted


@kinds
def test_a_seed_repeats_its_history(kind: str) -> None:
    """Also in another process, with other hashes of strings."""
    for seed in (1, 2, 3):
        repeated = subprocess.run(
            [sys.executable, "-c", REPEAT, kind, str(seed)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        assert repeated == run(kind, seed) + "\n"
