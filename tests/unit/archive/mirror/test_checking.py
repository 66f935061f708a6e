"""The comparison of the target with the rows."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from zoolet.archive.mirror import checking
from zoolet.archive.mirror.checking import CopyChecker
from zoolet.archive.mirror.records.changes import Changes, CopyEvents
from zoolet.archive.mirror.records.figures import Figures
from zoolet.archive.mirror.records.state_file import StateFile
from zoolet.archive.mirror.records.subtree import Subtree
from zoolet.archive.mirror.scan import Scanned
from zoolet.model.stat import Stat


def test_a_comparison_of_the_target_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can take minutes, in which nothing is copied."""
    figures = Figures(compared=7)
    seen = []

    async def scan(*_: object) -> AsyncGenerator[Scanned, None]:
        for number in range(1001):
            seen.append((figures.is_comparing, figures.compared))
            yield Scanned(f"/{number}", Stat(1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1), ())

    monkeypatch.setattr(checking, "scan", scan)
    state = StateFile(tmp_path / "s.sqlite", "a", "b")
    client: Any = None
    checker = CopyChecker(
        client,
        Subtree("/app"),
        state,
        CopyEvents(),
        Changes(),
        figures,
        lambda _: None,
        overwrites=False,
    )
    asyncio.run(checker.compare_all())
    assert (seen[0], seen[-1]) == ((True, 0), (True, 1000))
    assert not figures.is_comparing
    assert state.is_complete
    state.close()
