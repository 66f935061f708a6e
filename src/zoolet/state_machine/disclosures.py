"""The table of everything that shows data of a znode, with the permission that a client needs.

The table contains every reply, watch event, four-letter word and admin command. The checks
themselves are in the code that handles the requests (``state_machine/prepare.py``,
``state_machine/machine.py``, ``server/pipeline/reads.py``), because a look-up in a table would be
too slow there. ``tests/integration/server/test_disclosures.py`` tests each row with the permission
and without it. docs/access.md shows the table.
"""

from enum import Enum
from typing import Final, NamedTuple

from zoolet.model.codes import EventType, OpCode, Permission


class Of(Enum):
    """The znode whose ACL must give the permission."""

    ZNODE = "the znode"
    PARENT = "its parent"
    NONE = "nobody's"


class Disclosure(NamedTuple):
    """One row.

    Attributes:
        name: the name of the request or the event; unique.
        op_codes: the op codes of the request; empty for an event and for "any request".
        shows: the information about a znode that a client receives.
        permission: the permissions of which the client needs one; None if every client with a
            session receives the information.
        of: the znode whose ACL must give the permission.
        without: the result for a client without the permission.
        event: the type of the watch event; None for a reply.
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
        "number of znodes below, including znodes that the client cannot read",
        _READ,
    ),
    Disclosure(
        "multiRead",
        (OpCode.MULTI_READ,),
        "the same as getData and getChildren, separately for each part",
        _READ,
    ),
    Disclosure("getACL", (OpCode.GET_ACL,), "the list, Stat", _READ | _ADMIN),
    Disclosure(
        "getACL: digests",
        (OpCode.GET_ACL,),
        "digests in the list",
        _ADMIN,
        without="x instead of each digest",
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
        "that the version differs, that there are children",
        Permission.DELETE,
        Of.PARENT,
    ),
    Disclosure("setData", (OpCode.SET_DATA,), "that the version differs, Stat", Permission.WRITE),
    Disclosure("setACL", (OpCode.SET_ACL,), "that the version differs, Stat", _ADMIN),
    Disclosure("check in a multi", (OpCode.CHECK,), "that the version differs", _READ),
    Disclosure(
        "multi",
        (OpCode.MULTI,),
        "for each part, the same as its own request; for parts after a refused part, nothing",
        None,
        Of.NONE,
        _NOTHING,
    ),
    Disclosure(
        "any request",
        (),
        "that a path does not exist (NONODE), or that it exists (NOAUTH)",
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
        "whether the connection still has a watch; if a standard watch is gone, the znode has"
        " changed",
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
        "that a child was created or deleted; the ACL of its parent counts",
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
        "that a child was created or deleted meanwhile",
        EventType.NODE_CHILDREN_CHANGED,
    ),
    Disclosure(
        "setWatches: NodeDeleted",
        (),
        "that the znode does not exist now, which every read shows too",
        None,
        Of.NONE,
        _NOTHING,
        EventType.NODE_DELETED,
    ),
)

OPERATOR_WORDS: Final = frozenset({"dump", "topk", "wchc", "wchp"})
"""The four-letter words that show paths. The server does not check ACLs for them, but they must be
in ``4lw.commands.whitelist``, which does not contain them by default."""

OPERATOR_COMMANDS: Final = frozenset({"dump", "top", "watch_details", "watches", "watches_by_path"})
"""The admin commands that show paths. The server does not check ACLs for them: everyone who can
connect to the admin port can use them."""
