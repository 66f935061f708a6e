"""What shows something of a znode, and the permission that it needs: one table for all of it.

Every reply, watch event, four-letter word and admin command is in it. The checks themselves stand
where the requests are handled (``state_machine/prepare.py``, ``state_machine/machine.py``,
``server/pipeline/reads.py``): a look into a table costs too much there.
``tests/integration/server/test_disclosures.py`` tries each row with the permission and without it.
docs/access.md shows the table.
"""

from enum import Enum
from typing import Final, NamedTuple

from zoolet.model.codes import EventType, OpCode, Permission


class Of(Enum):
    """Whose ACL has to give the permission."""

    ZNODE = "the znode"
    PARENT = "its parent"
    NONE = "nobody's"


class Disclosure(NamedTuple):
    """One row.

    Attributes:
        name: of the request or the event; unique.
        op_codes: the requests whose replies these are; empty for an event.
        shows: what a client learns of a znode.
        permission: one of these is needed; None: every client with a session may know.
        of: whose ACL has to give it.
        without: what the client gets that lacks it.
        event: the watch event that this is, if it is one.
    """

    name: str
    op_codes: tuple[OpCode, ...]
    shows: str
    permission: Permission | None
    of: Of = Of.ZNODE
    without: str = "NOAUTH"
    event: EventType | None = None


_READ, _ADMIN = Permission.READ, Permission.ADMIN
_NOTHING = "-"

REPLIES: Final = (
    Disclosure("exists", (OpCode.EXISTS,), "Stat", _READ),
    Disclosure("getData", (OpCode.GET_DATA,), "data, Stat", _READ),
    Disclosure(
        "getChildren",
        (OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2),
        "names of children, Stat",
        _READ,
    ),
    Disclosure(
        "getAllChildrenNumber",
        (OpCode.GET_ALL_CHILDREN_NUMBER,),
        "number of znodes below, also of those that the client may not read",
        _READ,
    ),
    Disclosure(
        "multiRead", (OpCode.MULTI_READ,), "as getData and getChildren, each part by itself", _READ
    ),
    Disclosure("getACL", (OpCode.GET_ACL,), "the list, Stat", _READ | _ADMIN),
    Disclosure(
        "getACL: digests", (OpCode.GET_ACL,), "digests in the list", _ADMIN, without="x in place"
    ),
    Disclosure(
        "create",
        (OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL),
        "that the znode exists, the next sequence number, the new Stat",
        Permission.CREATE,
        Of.PARENT,
    ),
    Disclosure(
        "delete",
        (OpCode.DELETE,),
        "that the version is another, that there are children",
        Permission.DELETE,
        Of.PARENT,
    ),
    Disclosure(
        "setData", (OpCode.SET_DATA,), "that the version is another, Stat", Permission.WRITE
    ),
    Disclosure("setACL", (OpCode.SET_ACL,), "that the version is another, Stat", _ADMIN),
    Disclosure("check in a multi", (OpCode.CHECK,), "that the version is another", _READ),
    Disclosure(
        "multi",
        (OpCode.MULTI,),
        "of each part what its own request shows; after a refused part, nothing",
        None,
        Of.NONE,
        _NOTHING,
    ),
    Disclosure(
        "any request",
        (),
        "that a path is missing (NONODE), or that it exists (NOAUTH)",
        None,
        Of.NONE,
        _NOTHING,
    ),
    Disclosure(
        "getEphemerals",
        (OpCode.GET_EPHEMERALS,),
        "paths of the ephemerals of the client's own session",
        None,
        Of.NONE,
        _NOTHING,
    ),
    Disclosure(
        "checkWatches, removeWatches",
        (OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES),
        "whether the connection has a watch; each change uses up a standard one",
        None,
        Of.NONE,
        _NOTHING,
    ),
    Disclosure(
        "all other requests",
        (
            OpCode.ADD_WATCH,
            OpCode.SET_WATCHES,
            OpCode.SET_WATCHES2,
            OpCode.SYNC,
            OpCode.PING,
            OpCode.AUTH,
            OpCode.SASL,
            OpCode.WHO_AM_I,
            OpCode.RECONFIG,
            OpCode.CREATE_SESSION,
            OpCode.CLOSE_SESSION,
            OpCode.DELETE_CONTAINER,
        ),
        "nothing",
        None,
        Of.NONE,
        _NOTHING,
    ),
)


def _event(name: str, shows: str, event: EventType) -> Disclosure:
    return Disclosure(name, (), shows, _READ, without="no event", event=event)


EVENTS: Final = (
    _event("NodeCreated", "that the znode was created", EventType.NODE_CREATED),
    _event(
        "NodeDeleted", "that the znode was deleted; its last ACL counts", EventType.NODE_DELETED
    ),
    _event("NodeDataChanged", "that data were written", EventType.NODE_DATA_CHANGED),
    _event(
        "NodeChildrenChanged",
        "that a child came or went; the ACL above that child counts",
        EventType.NODE_CHILDREN_CHANGED,
    ),
    _event("setWatches: NodeCreated", "that the znode exists now", EventType.NODE_CREATED),
    _event(
        "setWatches: NodeDataChanged",
        "that data were written meanwhile",
        EventType.NODE_DATA_CHANGED,
    ),
    _event(
        "setWatches: NodeChildrenChanged",
        "that a child came or went meanwhile",
        EventType.NODE_CHILDREN_CHANGED,
    ),
    Disclosure(
        "setWatches: NodeDeleted",
        (),
        "that the znode is missing now, as every read tells",
        None,
        Of.NONE,
        _NOTHING,
        EventType.NODE_DELETED,
    ),
)

OPERATOR_WORDS: Final = frozenset({"dump", "wchc", "wchp"})
"""The four-letter words that show paths. Nobody checks ACLs: ``4lw.commands.whitelist`` has to name
them, and does not by default."""

OPERATOR_COMMANDS: Final = frozenset({"dump", "watch_details", "watches", "watches_by_path"})
"""The admin commands that show paths. Nobody checks ACLs: who reaches the admin port may ask."""
