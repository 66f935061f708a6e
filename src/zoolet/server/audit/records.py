"""Records of the audit log, before they are formatted.

Source: ``AuditConstants`` and ``AuditEvent`` of Apache ZooKeeper.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import AclList
from zoolet.state_machine.identities import Identities

START: Final = "serverStart"
STOP: Final = "serverStop"
CREATE: Final = "create"
DELETE: Final = "delete"
SET_DATA: Final = "setData"
SET_ACL: Final = "setAcl"
MULTI: Final = "multiOperation"
RECONFIG: Final = "reconfig"
DELETE_EPHEMERAL: Final = "ephemeralZNodeDeletionOnSessionCloseOrExpire"

SUCCESS: Final = "success"
FAILURE: Final = "failure"
INVOKED: Final = "invoked"
"""The result of a stop, which is recorded before it is complete."""


@final
@mypyc_attr(acyclic=True)
class AuditRecord:
    """An operation that a client or the server itself has made, and its result.

    Attributes:
        time_ms: the time in milliseconds since the epoch.
        operation: the name of the operation.
        result: SUCCESS, FAILURE or INVOKED.
        err: the number of an ErrorCode; 0 if there was no error.
        session_id: the id of the session; 0 for the start and the stop of the server.
        identities: the identities of the client; None if the server made the operation itself.
        address: the IP address of the client; "" if the server made the operation itself.
        znode: the path of the znode; None if there is none.
        znode_type: the name of a CreateMode, in lower case; "" for operations other than creates.
        acl: the new ACL; None for operations other than SET_ACL.
    """

    __slots__ = (
        "acl",
        "address",
        "err",
        "identities",
        "operation",
        "result",
        "session_id",
        "time_ms",
        "znode",
        "znode_type",
    )

    def __init__(
        self,
        time_ms: int,
        operation: str,
        result: str,
        err: int = 0,
        session_id: int = 0,
        identities: Identities | None = None,
        address: str = "",
        znode: str | None = None,
        znode_type: str = "",
        acl: AclList | None = None,
    ) -> None:
        self.time_ms = time_ms
        self.operation = operation
        self.result = result
        self.err = err
        self.session_id = session_id
        self.identities = identities
        self.address = address
        self.znode = znode
        self.znode_type = znode_type
        self.acl = acl
