"""Paths of a cluster in its past, and moments.

A cluster of the page may be a subtree of a ZooKeeper (a chroot); the past has the full paths.
Invariant: nothing outside of this subtree is read.
"""

import re
from datetime import UTC, datetime
from typing import Final

from zoolet.client.connecting.servers import parse_servers
from zoolet.model import paths
from zoolet.web.settings import Cluster

NOW: Final = "now"
"""The newest state that a source has."""

_ZXID: Final = re.compile(r"0x[0-9a-fA-F]{1,16}")


def moment(text: str) -> str:
    """Return a moment as ``zoolet data`` takes it; "" for the newest. A time without zone is UTC.

    Raises:
        ValueError: the text is neither a zxid nor a time.
    """
    text = text.strip()
    if text in {"", NOW}:
        return ""
    if _ZXID.fullmatch(text):
        return text
    try:
        found = datetime.fromisoformat(text.removesuffix("UTC").strip())
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text[:60]!r} is neither a zxid (0x1a2b) nor a time (2026-11-23T12:00:00) nor now"
        ) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).isoformat()


class Places:
    """Translates between the paths of a cluster and those of its past."""

    def __init__(self, cluster: Cluster) -> None:
        self._chroot = parse_servers(cluster.hosts).chroot

    def full(self, path: str) -> str:
        """Return the path in the past."""
        if not self._chroot:
            return path
        return self._chroot if path == paths.ROOT else self._chroot + path

    def shown(self, path: object) -> str | None:
        """Return the path in the cluster; None if it is outside of it."""
        if not isinstance(path, str) or not path.startswith(self._chroot or paths.ROOT):
            return None
        rest = path[len(self._chroot) :]
        if not rest:
            return paths.ROOT
        return rest if rest.startswith(paths.ROOT) else None
