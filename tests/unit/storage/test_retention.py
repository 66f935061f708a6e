"""Retention: what is needed to start from any kept snapshot stays."""

from pathlib import Path

import pytest

from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories
from zoolet.storage.retention import purge


@pytest.mark.parametrize(
    ("names", "removed"),
    [
        ("snapshot.0 snapshot.5 log.1", ""),
        ("snapshot.0 snapshot.5 snapshot.9 log.1 log.6 log.a", ""),
        (
            "snapshot.0 snapshot.5 snapshot.9 snapshot.f log.1 log.6 log.a log.10",
            "snapshot.0",
        ),
        (
            "snapshot.0 snapshot.5 snapshot.9.gz snapshot.f snapshot.20.snappy log.1 log.8 log.a",
            "snapshot.0 snapshot.5 log.1",
        ),
        ("snapshot.0 snapshot.5 snapshot.9 unfinished.snapshot.f torn.log.1.16 log.1", ""),
    ],
)
def test_what_lies_before_the_kept_snapshots_goes(tmp_path: Path, names: str, removed: str) -> None:
    directories = DataDirectories.of(tmp_path)
    directories.prepare(Disk())
    for name in names.split():
        (directories.snapshots / name).touch()
    assert purge(Disk(), directories, 3) == removed.split()
    left = {path.name for path in directories.snapshots.iterdir()}
    assert left == set(names.split()) - set(removed.split())
