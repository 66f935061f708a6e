"""How many steps of a counter fit one multi."""

import random

from zoolet.archive.live.counters import add_steps, step_bytes, steps_in_multi
from zoolet.client.protocol.batches import Multi
from zoolet.client.transfers import MULTI_BYTES
from zoolet.model import paths


def test_a_short_path_has_as_many_steps_as_operations_are_allowed() -> None:
    assert steps_in_multi("/queue", 10_000) == 250
    assert steps_in_multi("/queue", 3) == 3


def test_the_steps_fit_one_multi_whatever_the_path() -> None:
    chance = random.Random(5)
    for _ in range(200):
        parent = "/" + chance.choice("aé漢") * chance.randrange(1, 3000)
        steps = steps_in_multi(parent, chance.randrange(1, 1000))
        batch = Multi()
        add_steps(batch, parent, steps)
        names = [part.path for _, part in batch.parts]
        assert len(names) == 2 * steps <= 500
        assert sum(paths.size_bytes(name) for name in names) <= steps * step_bytes(parent)
        assert steps * step_bytes(parent) <= MULTI_BYTES


def test_one_step_is_always_possible() -> None:
    assert steps_in_multi("/" + "x" * MULTI_BYTES, 5) == 1
