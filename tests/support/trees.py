"""Trees that are made without txns, as states to restore."""

import random

from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, READ_ONLY_ACL
from zoolet.model.stat import Stat
from zoolet.state_machine.tree import Tree

SESSION = 7


def stat_of(version: int = 0, owner: int = 0) -> Stat:
    return Stat(1, 1, 0, 0, version, 0, 3, owner, 0, 0, 1)


def random_tree(chance: random.Random) -> Tree:
    """Return a tree with up to 25 znodes, some of which are ephemerals."""
    tree = Tree.fresh()
    found = ["/"]
    for _ in range(chance.randrange(25)):
        path = paths.join(chance.choice(found), chance.choice(("a", "b", "c", "!", "s0000000001")))
        if path in tree.records:
            continue
        is_ephemeral = chance.random() < 0.2
        stat = stat_of(chance.randrange(3), SESSION if is_ephemeral else 0)
        acl = chance.choice((OPEN_ACL, OPEN_ACL, READ_ONLY_ACL))
        created = chance.randrange(5)
        tree.add(path, chance.choice((b"", b"1", None)), acl, stat, 0 if is_ephemeral else created)
        if not is_ephemeral:
            found.append(path)
    tree.count_all_children()
    return tree
