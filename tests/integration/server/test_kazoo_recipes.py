"""kazoo's own tests of its recipes, moved onto zoolet's harness.

A suite that moves changes its import of kazoo.testing; for kazoo's, which are installed with it,
that is done from outside.
"""

import sys
import unittest
from importlib import import_module
from typing import Any

import objgraph
import pytest

from zoolet.testing.kazoo_harness import harness

# kazoo's tests use what newer Pythons deprecate.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")

RECIPES = (
    "barrier",
    "cache",
    "counter",
    "election",
    "lease",
    "lock",
    "partitioner",
    "party",
    "queue",
    "watchers",
)

# Both wait without a limit until nobody has the lock. On a fast server the next contender has it
# before the waiting thread looks.
WAIT_FOR_A_MOMENT = {"KazooLockTests": ("test_lock", "test_rw_lock")}
HANGS = "hangs if it misses the moment that it waits for; test_recipes.py tests the same"

sys.modules["kazoo.testing"] = harness
for recipe in RECIPES:
    module: Any = import_module(f"kazoo.tests.test_{recipe}")
    if recipe == "cache":
        # It counts objects by their class's name, and hypothesis has a TreeNode too.
        module.count_refs_by_type = lambda name: objgraph.count(f"kazoo.recipe.cache.{name}")
    for name, found in vars(module).items():
        if isinstance(found, type) and issubclass(found, unittest.TestCase):
            globals()[name] = found
            for test in WAIT_FOR_A_MOMENT.get(name, ()):
                setattr(found, test, unittest.skip(HANGS)(getattr(found, test)))
del sys.modules["kazoo.testing"], module, name, found
