"""Quotas: the numbers of znodes and bytes that a subtree has and may have.

The limits of ``/a`` are the data of ``/zookeeper/quota/a/zookeeper_limits``, and the current
numbers are the data of ``.../zookeeper_stats`` (``zoolet.model.quotas``). A write counts only for
the deepest limited znode at or above its path.

Source: ``DataTree`` (createNode, deleteNode, setData, updateQuotaStat), ``PathTrie``,
``StatsTrack`` and ``ZooKeeperServer.checkQuota``. If the text in one of these znodes is invalid,
Apache ZooKeeper's server stops; zoolet ignores the invalid parts of the text.
"""

from collections.abc import Iterator
from typing import Final, final

from mypy_extensions import mypyc_attr

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


@final
@mypyc_attr(acyclic=True)
class _Text:
    """The numbers in the text of a znode. They are right as long as the tree has this record.

    Attributes:
        path: the znode.
        record: the record that was parsed; None before the first.
        values: the numbers in it.
    """

    __slots__ = ("path", "record", "values")

    def __init__(self, path: str) -> None:
        self.path = path
        self.record: bytes | None = None
        self.values: dict[str, int] = {}

    def is_in(self, tree: Tree) -> bool:
        """Return whether the znode exists; read its numbers again if its record has changed."""
        record = tree.records.get(self.path)
        if record != self.record:
            self.record = record
            self.values = {} if record is None else parse_quota(data_in(record) or b"")
        return record is not None


@final
@mypyc_attr(acyclic=True)
class _Quota:
    """The limits and the statistics of a limited path.

    Attributes:
        limited: the path.
        below: with what the paths of all its descendants begin.
        limits: the text of its limits.
        stats: the text of its statistics.
        written: the record with the statistics that the last count has written.
    """

    __slots__ = ("below", "limited", "limits", "stats", "written")

    def __init__(self, limited: str) -> None:
        self.limited = limited
        self.below = f"{limited}/"
        self.limits = _Text(f"{paths.QUOTA}{limited}/{LIMITS_NAME}")
        self.stats = _Text(f"{paths.QUOTA}{limited}/{STATS_NAME}")
        self.written: bytes | None = None


class Quotas:
    """The quotas in the znodes under ``/zookeeper/quota``.

    Attributes:
        limited: the paths that have limits.
    """

    def __init__(self, tree: Tree) -> None:
        """Find the limits in a tree and recompute their statistics, as after a restart."""
        self._tree = tree
        self._quotas: dict[str, _Quota] = {}
        # A quota that the last writes have needed, and that is the deepest of all paths below it.
        self._last: _Quota | None = None
        self.limited = PathSet()
        for path in self._limits_below(paths.QUOTA):
            if path:
                self.limited.add(path)
                self._count_subtree(path)

    # --- Counting; each function returns the path of the changed statistics, or None

    def created(self, path: str, size_bytes: int) -> str | None:
        """Count a new znode; if it holds limits, they take effect now."""
        if not self.limited.size and not path.startswith(_BELOW_QUOTA):
            return None
        real_path = _real_path(path, LIMITS_NAME)
        if real_path:
            self.limited.add(real_path)
            self._last = None
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
        real_path = _real_path(path, LIMITS_NAME)
        if real_path:
            self.limited.remove(real_path)
            self._quotas.pop(real_path, None)
            self._last = None
        return self._count(path, -size_bytes, -1)

    def check(self, path: str, bytes_more: int, count_more: int, *, enforced: bool) -> str | None:
        """Return a warning if a write at ``path`` exceeds a limit; None if not.

        Raises RequestError (QUOTA_EXCEEDED) if the limit is a hard limit and is enforced.
        """
        if not bytes_more and not count_more:
            return None
        quota = self._deepest_above(path)
        if quota is None:
            return None
        if not quota.limits.is_in(self._tree) or not quota.stats.is_in(self._tree):
            return None
        limits, stats = quota.limits.values, quota.stats.values
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
                raise RequestError(ErrorCode.QUOTA_EXCEEDED, quota.limited)
            warning = f"the quota of {quota.limited} is exceeded: {name} {after}, limit {limit}"
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
        quota = self._deepest_above(path)
        if quota is None:
            return None
        stats = quota.stats
        if not stats.is_in(self._tree):
            return None
        if not bytes_more and not count_more and stats.record == quota.written:
            return None  # the same numbers in the same form
        values = stats.values
        values[COUNT] = values.get(COUNT, UNLIMITED) + count_more
        values[BYTES] = values.get(BYTES, UNLIMITED) + bytes_more
        quota.written = stats.record = self._tree.replace_data(stats.path, format_quota(values))
        return stats.path

    def _deepest_above(self, path: str) -> _Quota | None:
        """Return the quota of the deepest limited path at or above ``path``; None without one.

        Most writes have the same quota as the write before, and need no search.
        """
        last = self._last
        if last is not None and path.startswith(last.below):
            return last
        limited = self.limited.deepest_above(path)
        if limited is None:
            return None
        quota = self._quotas.get(limited)
        if quota is None:
            quota = self._quotas[limited] = _Quota(limited)
        if len(limited) == self.limited.longest:
            self._last = quota  # no limited path is below it, because that would be longer
        return quota


def _real_path(path: str, name: str) -> str:
    """Return the path that a znode with this name under ``/zookeeper/quota`` limits or counts.

    The result is "" if the znode is not under ``/zookeeper/quota`` or has another name. It is also
    "" for the root, which has no quota: a quota of the root stops Apache ZooKeeper's server.
    """
    suffix = f"/{name}"
    if path.startswith(_BELOW_QUOTA) and path.endswith(suffix):
        return path[len(paths.QUOTA) : -len(suffix)]
    return ""
