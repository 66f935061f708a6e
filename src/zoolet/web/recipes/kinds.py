"""The kinds of recipes, the libraries, and what the members of a recipe do. No I/O."""

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """A kind of recipe; the value is its name for users."""

    LOCK = "lock or election"
    READ_WRITE_LOCK = "read-write lock"
    LEADER_LATCH = "leader latch"
    SEMAPHORE = "semaphore"
    LEASE = "lease with a time limit"
    QUEUE = "queue"
    LOCKING_QUEUE = "locking queue"
    ITEMS_IN_WORK = "items in work of a queue"
    DOUBLE_BARRIER = "double barrier"
    PARTY = "party"
    SET_PARTITIONER = "set partitioner"
    SERVICE = "service"
    COUNTER = "counter"


class Library(StrEnum):
    """The library that writes a form of names; the value is its name for users."""

    KAZOO = "kazoo"
    ZOOLET = "zoolet"
    KAZOO_OR_ZOOLET = "kazoo or zoolet"
    CURATOR = "Curator"
    GO = "Go's client"


class State(StrEnum):
    """What a member does; the value is its name for users."""

    HOLDS = "holds"
    WAITS = "waits"
    MEMBER = "member"
    ITEM = "item"


RISKS: Final = {
    Kind.LOCK: "the next client takes the lock or becomes the leader",
    Kind.READ_WRITE_LOCK: "the next clients take the lock",
    Kind.LEADER_LATCH: "the next client becomes the leader",
    Kind.SEMAPHORE: "the next client takes the lease",
    Kind.LEASE: "the next client takes the lease, although its time is not over",
    Kind.LOCKING_QUEUE: "the next consumer takes the item, and it may be processed twice",
    Kind.ITEMS_IN_WORK: "the next consumer takes the item, and it may be processed twice",
    Kind.SET_PARTITIONER: "the next member takes the item of the set",
}
"""What happens when the znode of a holder is deleted, as a part of a sentence."""

BREAKABLE: Final = frozenset(RISKS)
"""The kinds in which a member that holds something keeps others from going on."""
