"""The output of ``zkSnapshotComparer.sh``: the growth between two snapshots, depth by depth.

Source: ``SnapshotComparer`` of Apache ZooKeeper 3.9. The root is the empty path, at depth 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from zoolet.state_machine.tree import Tree


@dataclass(slots=True)
class Size:
    """The size of a znode with all its descendants.

    Attributes:
        size_bytes: the size of the data of the znode and all its descendants.
        descendants: the number of descendants.
    """

    size_bytes: int
    descendants: int = 0


@dataclass(slots=True)
class Sizes:
    """The sizes of all znodes of a tree.

    Attributes:
        by_path: the size of each znode, by its path.
        by_depth: the sorted paths at each depth.
    """

    by_path: dict[str, Size] = field(default_factory=dict)
    by_depth: list[list[str]] = field(default_factory=list)

    @classmethod
    def of(cls, tree: Tree) -> "Sizes":
        """Return the sizes of all znodes of a tree."""
        sizes = cls()
        for path, node in tree.znodes():
            name = "" if path == "/" else path
            sizes.by_path[name] = Size(len(node.data or b""))
            depth = name.count("/")
            while depth >= len(sizes.by_depth):
                sizes.by_depth.append([])
            sizes.by_depth[depth].append(name)
        for paths in reversed(sizes.by_depth[1:]):
            for path in paths:
                own, parent = sizes.by_path[path], sizes.by_path[path.rpartition("/")[0]]
                parent.size_bytes += own.size_bytes
                parent.descendants += 1 + own.descendants
        for paths in sizes.by_depth:
            paths.sort()
        return sizes

    def summary(self) -> Iterator[str]:
        """Yield the lines about the whole tree."""
        yield f"Node count: {len(self.by_path)}"
        yield f"Total size: {self.by_path[''].size_bytes}"
        yield f"Max depth: {len(self.by_depth)}"
        for depth, paths in enumerate(self.by_depth):
            yield f"Count of nodes at depth {depth}: {len(paths)}"

    def at_depth(self, depth: int) -> list[str]:
        """Return the paths at a depth; empty if the tree has no such depth."""
        return self.by_depth[depth] if depth < len(self.by_depth) else []

    def children_of(self, path: str) -> list[str]:
        """Return the paths of a znode's children."""
        start = f"{path}/"
        return [found for found in self.at_depth(path.count("/") + 1) if found.startswith(start)]


class Thresholds(NamedTuple):
    """The limits above which a difference is shown.

    Attributes:
        size_bytes: the limit for the difference in bytes.
        znodes: the limit for the difference in znodes.
        shows_all: whether smaller differences get a short line.
    """

    size_bytes: int
    znodes: int
    shows_all: bool

    def is_large(self, size_bytes: int, znodes: int) -> bool:
        """Return whether a difference exceeds one of the limits."""
        return size_bytes > self.size_bytes or znodes > self.znodes


class Comparison(NamedTuple):
    """A comparison of two trees, with the limits above which a difference is shown."""

    left: Sizes
    right: Sizes
    thresholds: Thresholds

    @property
    def depths(self) -> int:
        """The number of depths of the deeper tree."""
        return max(len(self.left.by_depth), len(self.right.by_depth))

    def depth_lines(self, depth: int) -> Iterator[str]:
        """Yield a line for each difference at a depth."""
        return self._lines(self.left.at_depth(depth), self.right.at_depth(depth))

    def subtree_lines(self, path: str) -> Iterator[str]:
        """Yield a line for each difference between the children of a znode."""
        if path not in self.left.by_path and path not in self.right.by_path:
            return iter([f"Path {path} is neither found in left tree nor right tree."])
        return self._lines(self.left.children_of(path), self.right.children_of(path))

    def _lines(self, left_paths: list[str], right_paths: list[str]) -> Iterator[str]:
        for path in sorted({*left_paths, *right_paths}):
            ours, theirs = self.left.by_path.get(path), self.right.by_path.get(path)
            if ours is not None and theirs is not None:
                line = self._both(path, ours, theirs)
            else:
                side, only = ("left", ours) if theirs is None else ("right", theirs)
                line = self._one(path, side, only or Size(0))
            if line:
                yield line

    def _one(self, path: str, side: str, size: Size) -> str:
        if self.thresholds.is_large(size.size_bytes, size.descendants):
            return (
                f"Node {path} found only in {side} tree. Descendant size: {size.size_bytes}."
                f" Descendant count: {size.descendants}"
            )
        if self.thresholds.shows_all:
            return f"Filtered {side} node {path} of size {size.size_bytes}"
        return ""

    def _both(self, path: str, ours: Size, theirs: Size) -> str:
        delta_bytes = theirs.size_bytes - ours.size_bytes
        delta_znodes = theirs.descendants - ours.descendants
        if self.thresholds.is_large(abs(delta_bytes), abs(delta_znodes)):
            return (
                f"Node {path} found in both trees. Delta: {delta_bytes} bytes,"
                f" {delta_znodes} descendants"
            )
        if self.thresholds.shows_all:
            return (
                f"Filtered node {path} of left size {ours.size_bytes},"
                f" right size {theirs.size_bytes}"
            )
        return ""
