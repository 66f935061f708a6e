"""The job system talks to kazoo in a few modules only, so that another client can replace it."""

from pathlib import Path

import zoolet.jobs
from tests.unit.test_imports import imported_modules

EDGE = {"connection", "operations", "requests", "znodes"}
CLIENT_ONLY = {"dispatcher", "layout", "queue"}
"""These accept a KazooClient of the user, and call nothing of it."""


def test_only_the_edge_imports_kazoo() -> None:
    wrong = []
    for source in sorted(Path(zoolet.jobs.__file__).parent.glob("*.py")):
        found = {name for name in imported_modules(source) if name.partition(".")[0] == "kazoo"}
        if source.stem in CLIENT_ONLY:
            found -= {"kazoo.client", "kazoo.client.KazooClient"}
        if source.stem not in EDGE:
            wrong += [f"{source.name} imports {name}" for name in found]
    assert wrong == []
