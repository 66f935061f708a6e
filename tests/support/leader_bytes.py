"""What a leader sends, as bytes: the counterpart of what an observer reads."""

import random

from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.snapshots import SNAPSHOT_HEADER, Image

SECRET_ACL: AclList = (ACL(31, Id("digest", "ada:x")), OPEN_ACL[0])


def stream_of(machine: StateMachine) -> bytes:
    """Return a snapshot of the state as a leader sends it, without the signature after it."""
    content = b"".join(Image.of(machine).content())
    return content.removeprefix(SNAPSHOT_HEADER)


def snapshot_bytes(chance: random.Random) -> bytes:
    """Return a snapshot with random sessions, ACLs and znodes."""
    tree = Tree.fresh()
    sessions = SessionTable(2000)
    for number in range(chance.randrange(5)):
        sessions.open(number + 1, 4000, now_ms=0)
    paths = [""]
    for number in range(chance.randrange(30)):
        parent = chance.choice(paths)
        path = f"{parent}/{'n' * chance.randrange(3)}{number}"
        data = None if chance.random() < 0.1 else chance.randbytes(chance.randrange(300))
        acl = chance.choice([OPEN_ACL, SECRET_ACL, (ACL(number, Id("ip", "::1")),)])
        tree.create(path, parent or "/", data, acl, 0, number + 1, number + 1, 5)
        paths.append(path)
    return stream_of(StateMachine(tree, sessions, 100))
