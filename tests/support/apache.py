"""Skipping what compares with Apache ZooKeeper where there is none."""

from pathlib import Path

import pytest

from zoolet.testing.servers.apache import missing_for_apache


def require_apache(jars: Path) -> Path:
    """Return the folder of jars; skips the test where Apache ZooKeeper or Java is not there."""
    if (missing := missing_for_apache(jars)) is not None:
        pytest.skip(f"{missing} with --apache-jars (make test installs them where it may)")
    return jars
