"""A mark for tests that need interpreted sources. ``make test-pure`` runs them."""

import pytest

from zoolet.model.build import KIND

interpreted_only = pytest.mark.skipif(
    KIND == "compiled",
    reason="patches or traces a module that is compiled here: make test-pure runs it",
)
