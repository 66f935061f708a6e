"""The znodes that a walk visits later are in the order of a list with all paths."""

import random

import pytest

from zoolet.client.asyncio_client.subtrees.walk import Waiting
from zoolet.model import paths


@pytest.mark.parametrize("root", ["/", "/a/b"])
@pytest.mark.parametrize("seed", range(10))
def test_waiting_znodes_agree_with_a_list(root: str, seed: int) -> None:
    chance = random.Random(seed)
    waiting = Waiting(root)
    model = [root]  # the next path last
    while model and len(model) < 2000:
        assert list(waiting.following())[:5] == (
            [] if model == [root] else list(reversed(model))[:5]
        )
        path = waiting.take()
        assert path == model.pop()
        assert path is not None
        names = tuple(f"n{number}" for number in range(chance.choice([0, 0, 1, 3])))
        if path == root:
            names = ("x", "y")
        waiting.add(path, names)
        model += [paths.join(path, name) for name in reversed(names)]
    while model:
        assert waiting.take() == model.pop()
    assert waiting.take() is None
