"""An observer has the leader's state, whatever the network, the disk and the leader do.

The long run: ``make sim-observer``; one seed again: ``make sim-observer SEED=n``.
"""

import pytest

from tests.observer_simulation.world import World

STEPS = 400


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    first = metafunc.config.getoption("--first-observer-world")
    count = metafunc.config.getoption("--observer-worlds")
    if "seeds" in metafunc.fixturenames:
        chunk = 25
        starts = range(first, first + count, chunk)
        metafunc.parametrize(
            "seeds", [range(start, min(start + chunk, first + count)) for start in starts], ids=str
        )


def test_the_observer_has_the_leader_s_state(seeds: range) -> None:
    for seed in seeds:
        world = World(seed)
        try:
            world.run(STEPS)
        except BaseException as error:
            story = "\n".join(world.story[-80:])
            raise AssertionError(
                f"make sim-observer SEED={seed}: {error!r} after\n{story}"
            ) from error


def test_the_faults_happen() -> None:
    """A simulation in which nothing fails would prove nothing."""
    counts: dict[str, int] = {}
    for seed in range(80):
        world = World(seed)
        world.run(STEPS)
        for kind, count in world.counts.items():
            counts[kind] = counts.get(kind, 0) + count
    kinds = "cut crash leader reconfig snapshot freeze restore due resumed lost DIFF SNAP TRUNC"
    assert [kind for kind in kinds.split() if not counts.get(kind)] == []
    assert counts["compared"] > 500
    assert counts["reply"] > 500
    assert counts["read"] > 100
