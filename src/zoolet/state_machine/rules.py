"""What an operator may set of the state machine's rules."""

from typing import NamedTuple

from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES, max_txn_bytes_of

DEFAULT_MOST_EPHEMERALS = DEFAULT_MOST_WATCHES = 1_000_000
DEFAULT_MOST_READ_PARTS = 1000
DEFAULT_MOST_READ_BYTES = 64 << 20
DEFAULT_MOST_PATH_LENGTH = 16 << 10
DEFAULT_MOST_ACL_ENTRIES = 1000
DEFAULT_MOST_IDENTITIES = 128


class Rules(NamedTuple):
    """The settings that decide what is refused.

    Attributes:
        allows_ttl: whether znodes may have a time to live (``extendedTypesEnabled``).
        enforces_quota: whether a write past a quota's hard limit is refused (``enforceQuota``).
        most_ephemerals: of one session (``zoolet.maxEphemeralsPerSession``); a create past that is
            refused with QUOTA_EXCEEDED.
        most_watches: of one connection (``zoolet.maxWatchesPerConnection``); a request that sets
            one more is refused with THROTTLED.
        most_read_parts: of one multiRead (``multiRead.maxOps``); a request with more is refused
            with BADARGUMENTS. 0 is no limit.
        most_read_bytes: of the results of one multiRead (``multiRead.maxResponseBytes``); if there
            are more, it is refused with BADARGUMENTS. 0 is no limit.
        most_path_length: in characters, of the path of a new znode (``zoolet.maxPathLength``).
        max_txn_bytes: of the largest txn; a request whose txn would be larger is refused, also an
            ephemeral whose path would make the txn that closes its session larger.
        most_acl_entries: of a list that a request sets (``zoolet.maxEntriesPerAcl``), counted when
            ``auth`` is replaced by identities; a longer one is refused with INVALID_ACL. Lists that
            znodes have already may be longer.
        most_identities: that a client may prove on a connection
            (``zoolet.maxIdentitiesPerConnection``); one more is refused with AUTH_FAILED.
        schemes: of the identities that a list may name, beside ``world`` and ``auth``.
    """

    allows_ttl: bool = False
    enforces_quota: bool = False
    most_ephemerals: int = DEFAULT_MOST_EPHEMERALS
    most_watches: int = DEFAULT_MOST_WATCHES
    most_read_parts: int = DEFAULT_MOST_READ_PARTS
    most_read_bytes: int = DEFAULT_MOST_READ_BYTES
    most_path_length: int = DEFAULT_MOST_PATH_LENGTH
    max_txn_bytes: int = max_txn_bytes_of(DEFAULT_MAX_FRAME_BYTES)
    most_acl_entries: int = DEFAULT_MOST_ACL_ENTRIES
    most_identities: int = DEFAULT_MOST_IDENTITIES
    schemes: frozenset[str] = frozenset({"digest", "ip"})
