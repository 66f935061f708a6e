"""The steps that a replica asks the server to execute.

The server executes all steps in the order in which the replica returned them. A step that uses the
disk is finished before the next one begins; only the sync of an Apply may come later. If the
connection to the leader ends, the server may drop the steps that are left: every first part of the
steps leaves a state from which a new connection can continue.
"""

from typing import final

from mypy_extensions import mypyc_attr

from zoolet.model.ensemble import EnsembleConfig
from zoolet.model.learner import QuorumPacket
from zoolet.model.record import Record
from zoolet.model.txns import Txn


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Send(Record):
    """Send a packet to the leader."""

    __slots__ = ("packet",)

    def __init__(self, packet: QuorumPacket) -> None:
        self.packet = packet


@final
class StoreAcceptedEpoch(Record):
    """Store the epoch durably in the file ``acceptedEpoch``."""

    __slots__ = ("epoch",)

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch


@final
class StoreCurrentEpoch(Record):
    """Store the epoch durably in the file ``currentEpoch``."""

    __slots__ = ("epoch",)

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch


@final
class Truncate(Record):
    """Remove all txns after ``zxid`` from the log, and replace the database by the older state.

    If the log does not reach back to ``zxid``, the server must end the connection, and begin the
    next one with the last zxid 0, so that the leader sends a snapshot.
    """

    __slots__ = ("zxid",)

    def __init__(self, zxid: int) -> None:
        self.zxid = zxid


@final
class TakeSnapshot(Record):
    """Receive a snapshot, whose content follows on the connection.

    The snapshot has all txns up to ``zxid`` and may have some later ones. Until InstallSnapshot, it
    is not consistent, and the old files remain valid.
    """

    __slots__ = ("zxid",)

    def __init__(self, zxid: int) -> None:
        self.zxid = zxid


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Apply(Record):
    """Log a txn and apply it.

    Between TakeSnapshot and InstallSnapshot, the txn belongs to the received database and its log.
    The zxids of these steps have no gaps within an epoch.
    """

    __slots__ = ("txn",)

    def __init__(self, txn: Txn) -> None:
        self.txn = txn


@final
class InstallSnapshot(Record):
    """Make the received snapshot and its log durable and valid, and the old files invalid."""


@final
class MakeDurable(Record):
    """Wait until each applied txn is on disk."""


@final
class Activate(Record):
    """The members of the ensemble are known, or have changed.

    Attributes:
        config: the members.
        designated_leader: the id of the member that a reconfig chooses as the leader; None if the
            configuration does not come from a reconfig.
    """

    __slots__ = ("config", "designated_leader")

    def __init__(self, config: EnsembleConfig, designated_leader: int | None) -> None:
        self.config = config
        self.designated_leader = designated_leader


@final
class Serve(Record):
    """The state is up to date: clients may be served."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class AnswerPing(Record):
    """Send a PING with this zxid, and the sessions whose clients sent something."""

    __slots__ = ("zxid",)

    def __init__(self, zxid: int) -> None:
        self.zxid = zxid


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class AnswerSync(Record):
    """Answer the oldest sync that was forwarded to the leader."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Revalidated(Record):
    """The leader has answered whether a session exists; if so, this server owns it now."""

    __slots__ = ("is_valid", "session_id")

    def __init__(self, session_id: int, is_valid: bool) -> None:
        self.session_id = session_id
        self.is_valid = is_valid


@final
class GiveUp(Record):
    """Close the connection.

    Attributes:
        reason: the reason, for the log.
        is_final: whether another connection cannot help; then the server stops with the reason.
    """

    __slots__ = ("is_final", "reason")

    def __init__(self, reason: str, is_final: bool) -> None:
        self.reason = reason
        self.is_final = is_final


Step = (
    Send
    | StoreAcceptedEpoch
    | StoreCurrentEpoch
    | Truncate
    | TakeSnapshot
    | Apply
    | InstallSnapshot
    | MakeDurable
    | Activate
    | Serve
    | AnswerPing
    | AnswerSync
    | Revalidated
    | GiveUp
)
