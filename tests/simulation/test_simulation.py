"""Nothing acknowledged is lost, whatever the disk does: seeds of a simulated world.

After each crash: every zxid that a client has seen is there, and the state is what applying the
logged txns in order gives. In the end, without faults, every client is served again. The long run:
``make sim``; one seed again: ``make sim SEED=n``.
"""

import pytest

from tests.simulation.world import World

STEPS = 400


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    first = metafunc.config.getoption("--first-world")
    count = metafunc.config.getoption("--worlds")
    if "seeds" in metafunc.fixturenames:
        chunk = 25
        starts = range(first, first + count, chunk)
        metafunc.parametrize(
            "seeds", [range(start, min(start + chunk, first + count)) for start in starts], ids=str
        )


def test_the_world_may_fail_and_nothing_is_lost(seeds: range) -> None:
    for seed in seeds:
        world = World(seed)
        try:
            world.run(STEPS)
        except BaseException as error:
            story = "\n".join(world.story)
            raise AssertionError(f"make sim SEED={seed}: {error!r} after\n{story}") from error


def test_the_faults_happen() -> None:
    """A simulation in which nothing fails would prove nothing."""
    worlds = [World(seed) for seed in range(60)]
    for world in worlds:
        world.run(STEPS)
    stories = "\n".join(line for world in worlds for line in world.story)
    assert sum(world.crashes for world in worlds) > 300
    for fault in (
        "No space left",
        "Input/output error",
        "a snapshot failed",
        "crash at",
        "a change failed",
        "a callback failed",
    ):
        assert fault in stories
    assert sum(len(world.logged) for world in worlds) > 500
