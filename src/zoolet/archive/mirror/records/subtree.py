"""A subtree of a server, and the names of its znodes in both subtrees of a mirror.

A znode of a subtree has a relative path: "" for the root, and otherwise ``/NAME[/NAME...]``. It is
the same in the source and in the target. Imports ``model``.
"""

from typing import Final, NamedTuple

from zoolet.model import paths

MARKER_NAME: Final = "zoolet-mirror"
"""The name of the znode beside the target in which a mirror counts its multis."""


class Subtree(NamedTuple):
    """The subtree of a server.

    Attributes:
        root: the path of its root.
        left_out: the relative paths of the children of the root that do not belong to it.
    """

    root: str
    left_out: frozenset[str] = frozenset()

    def absolute(self, relative: str) -> str:
        """Return the path of a znode at the server."""
        return (("" if self.root == paths.ROOT else self.root) + relative) or paths.ROOT

    def relative(self, path: str) -> str | None:
        """Return the relative path of a znode; None if it is left out."""
        found = path if self.root == paths.ROOT else path[len(self.root) :]
        if found == paths.ROOT:
            return ""
        end = found.find("/", 1)
        top = found if end == -1 else found[:end]
        return None if top in self.left_out else found


def subtrees_of(source: str, target: str) -> tuple[Subtree, Subtree]:
    """Return the subtrees of a mirror.

    The znodes of ZooKeeper itself, and the marker of a mirror of the whole server, are left out.
    """
    is_whole = paths.ROOT in {source, target}
    left_out = frozenset({paths.SYSTEM, f"/{MARKER_NAME}"}) if is_whole else frozenset[str]()
    return Subtree(source, left_out), Subtree(target, left_out)


def marker_of(target: str) -> str:
    """Return the path of the marker: it is beside the target; for the root, it is below it."""
    if target == paths.ROOT:
        return paths.join(target, MARKER_NAME)
    return paths.join(paths.parent_of(target), f"{MARKER_NAME}-{paths.name_of(target)}")


def parent_of(relative: str) -> str | None:
    """Return the relative path of the parent; None for the root of the subtree."""
    return relative.rpartition("/")[0] if relative else None
