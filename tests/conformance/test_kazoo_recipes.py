"""kazoo's own tests of its recipes, moved onto zoolet's harness.

A suite that moves changes its import of kazoo.testing; for kazoo's, which are installed with it,
that is done from outside.
"""

import sys
import unittest
from importlib import import_module

import pytest

from zoolet.testing import harness

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

sys.modules["kazoo.testing"] = harness
for recipe in RECIPES:
    module = import_module(f"kazoo.tests.test_{recipe}")
    for name, found in vars(module).items():
        if isinstance(found, type) and issubclass(found, unittest.TestCase):
            globals()[name] = found
del sys.modules["kazoo.testing"], module, name, found
