"""Finds out whether the target of a copy is inside its source, also for two clients of one server.

Made by `release.client_methods` from `asyncio_client/subtrees/nesting.py`: change that module.
"""

from typing import Final

from zoolet.client.thread_client.operations import Operations
from zoolet.client.transfers import check_not_inside, is_inside, is_system
from zoolet.model import paths

_TRIES: Final = 3


def check_apart(origin: Operations, source: str, goal: Operations, target: str) -> None:
    """Raise ValueError if ``target`` of ``goal`` is in the subtree ``source`` of ``origin``.

    Two clients may use the same server under different names and chroots. So for two clients whose
    paths are one in the other, the Stats of a znode that both clients see are compared: different
    servers have different ones.
    """
    if origin is goal:
        check_not_inside(source, target)
        return
    whole_source, whole_target = _whole(origin, source), _whole(goal, target)
    if whole_source == whole_target or not is_inside(whole_target, whole_source):
        return
    shared = goal.chroot if is_inside(goal.chroot, whole_source) else whole_source
    if not shared.strip("/"):  # all servers have the same first znodes
        names = sorted((origin.children(paths.ROOT)).names)
        own = [path for path in map(paths.ROOT.__add__, names) if not is_system(path)]
        if not own:
            return
        shared = own[0]
    ours, theirs = _below(origin, shared), _below(goal, shared)
    for _ in range(_TRIES):
        before, found = origin.exists(ours), goal.exists(theirs)
        if before is not None and before == found:
            check_not_inside(whole_source, whole_target)
        if before == origin.exists(ours):
            return


def _whole(client: Operations, path: str) -> str:
    """Return a path of a client with the chroot."""
    return (client.chroot + path).rstrip("/") or paths.ROOT


def _below(client: Operations, whole: str) -> str:
    """Return a path as the client names it."""
    return whole[len(client.chroot) :] or paths.ROOT
