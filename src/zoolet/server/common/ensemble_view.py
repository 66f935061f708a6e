"""What an observer knows about its ensemble, for the operator."""

from typing import final

from zoolet.server.common.stats import Summary


@final
class EnsembleView:
    """The state of an observer, which the link to the leader updates.

    Attributes:
        my_id: the number of this server.
        leader: the address of the leader for its learners; "" if there is no leader.
        leader_id: the number of the leader; -1 if it is not known.
        leader_zxid: the zxid of the leader's last proposal that is known.
        is_serving: whether the database is up to date and clients are served.
        is_read_only: whether only read-only clients are served, because there is no leader.
        release_ms: the times from the arrival of txns to the release of their replies and events.
        links: the number of times that this server has followed a leader.
    """

    def __init__(self, my_id: int) -> None:
        self.my_id = my_id
        self.leader = ""
        self.leader_id = -1
        self.leader_zxid = 0
        self.is_serving = False
        self.is_read_only = False
        self.release_ms = Summary()
        self.links = 0

    @property
    def mode(self) -> str:
        """The mode that ``srvr`` shows."""
        return "read-only" if self.is_read_only else "observer"

    def lag(self, zxid: int) -> int:
        """Return the number of zxids that the last applied ``zxid`` is behind the leader."""
        return max(0, self.leader_zxid - zxid)
