"""Quotas: the numbers of znodes and bytes that a subtree has and may have.

The limits of ``/a`` are the data of ``/zookeeper/quota/a/zookeeper_limits``, and the current
numbers are the data of ``.../zookeeper_stats`` (``zoolet.model.quotas``). A write counts only for
the deepest limited znode at or above its path.

Source: ``DataTree`` (createNode, deleteNode, setData, updateQuotaStat), ``PathTrie``,
``StatsTrack`` and ``ZooKeeperServer.checkQuota``. If the text in one of these znodes is invalid,
Apache ZooKeeper's server stops; zoolet ignores the invalid parts of the text.
"""

from collections.abc import Iterator
from typing import Final

from zoolet.model import paths
from zoolet.model.codes import ErrorCode
from zoolet.model.errors import RequestError
from zoolet.model.quotas import (
    BYTES,
    COUNT,
    HARD_BYTES,
    HARD_COUNT,
    LIMITS_NAME,
    STATS_NAME,
    UNLIMITED,
    format_quota,
    parse_quota,
)
from zoolet.state_machine.path_set import PathSet
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import data_in

_BELOW_QUOTA: Final = f"{paths.QUOTA}/"


class Quotas:
    """The quotas in the znodes under ``/zookeeper/quota``.

    Attributes:
        limited: the paths that have limits.
    """

    def __init__(self, tree: Tree) -> None:
        """Find the limits in a tree and recompute their statistics, as after a restart."""
        self._tree = tree
        self.limited = PathSet()
        for path in self._limits_below(paths.QUOTA):
            if path:
                self.limited.add(path)
                self._count_subtree(path)

    def limited_above(self, path: str) -> str | None:
        """Return the deepest path with limits at or above ``path``; None if there is none."""
        for limited in self.limited.above(path):
            return limited
        return None

    # --- Counting; each function returns the path of the changed statistics, or None

    def created(self, path: str, size_bytes: int) -> str | None:
        """Count a new znode; if it holds limits, they take effect now."""
        if not self.limited.size and not path.startswith(_BELOW_QUOTA):
            return None
        real_path = _real_path(path, LIMITS_NAME)
        if real_path:
            self.limited.add(real_path)
        real_path = _real_path(path, STATS_NAME)
        if real_path:
            self._count_subtree(real_path)
        return self._count(path, size_bytes, 1) if self.limited.size else None

    def changed(self, path: str, bytes_more: int) -> str | None:
        """Count a change of the size of a znode's data."""
        return self._count(path, bytes_more, 0)

    def deleted(self, path: str, size_bytes: int) -> str | None:
        """Stop counting a deleted znode; if it held limits, they end now."""
        if not self.limited.size:
            return None
        self.limited.remove(_real_path(path, LIMITS_NAME))
        return self._count(path, -size_bytes, -1)

    def check(self, path: str, bytes_more: int, count_more: int, *, enforced: bool) -> str | None:
        """Return a warning if a write at ``path`` exceeds a limit; None if not.

        Raises RequestError (QUOTA_EXCEEDED) if the limit is a hard limit and is enforced.
        """
        limited = self.limited_above(path)
        if limited is None:
            return None
        limits = self._read(f"{paths.QUOTA}{limited}/{LIMITS_NAME}")
        stats = self._read(f"{paths.QUOTA}{limited}/{STATS_NAME}")
        if limits is None or stats is None:
            return None
        warning = None
        for name, hard_name, more in (
            (COUNT, HARD_COUNT, count_more),
            (BYTES, HARD_BYTES, bytes_more),
        ):
            hard = limits.get(hard_name, UNLIMITED)
            limit = hard if hard > UNLIMITED else limits.get(name, UNLIMITED)
            after = stats.get(name, UNLIMITED) + more
            if not more or limit <= UNLIMITED or after <= limit:
                continue
            if hard > UNLIMITED and enforced:
                raise RequestError(ErrorCode.QUOTA_EXCEEDED, limited)
            warning = f"the quota of {limited} is exceeded: {name} {after}, limit {limit}"
        return warning

    def _limits_below(self, path: str) -> Iterator[str]:
        """Yield the limited path of each znode with limits at any depth below ``path``."""
        pending = [path]
        while pending:
            for child in self._tree.children_of(pending.pop()):
                if paths.name_of(child) == LIMITS_NAME and not self._tree.has_children(child):
                    yield _real_path(child, LIMITS_NAME)
                else:
                    pending.append(child)

    def _count_subtree(self, path: str) -> None:
        """Set the statistics of a path to the current numbers of its subtree."""
        tree = self._tree
        stats_path = f"{paths.QUOTA}{path}/{STATS_NAME}"
        if stats_path not in tree.records:
            return
        count, size_bytes = tree.usage_of(path)
        tree.replace_data(stats_path, format_quota({COUNT: count, BYTES: size_bytes}))

    def _count(self, path: str, bytes_more: int, count_more: int) -> str | None:
        limited = self.limited_above(path)
        if limited is None:
            return None
        stats_path = f"{paths.QUOTA}{limited}/{STATS_NAME}"
        values = self._read(stats_path)
        if values is None:
            return None
        values[COUNT] = values.get(COUNT, UNLIMITED) + count_more
        values[BYTES] = values.get(BYTES, UNLIMITED) + bytes_more
        self._tree.replace_data(stats_path, format_quota(values))
        return stats_path

    def _read(self, path: str) -> dict[str, int] | None:
        record = self._tree.records.get(path)
        return None if record is None else parse_quota(data_in(record) or b"")


def _real_path(path: str, name: str) -> str:
    """Return the path that a znode with this name under ``/zookeeper/quota`` limits or counts.

    The result is "" if the znode is not under ``/zookeeper/quota`` or has another name. It is also
    "" for the root, which has no quota: a quota of the root stops Apache ZooKeeper's server.
    """
    suffix = f"/{name}"
    if path.startswith(_BELOW_QUOTA) and path.endswith(suffix):
        return path[len(paths.QUOTA) : -len(suffix)]
    return ""
