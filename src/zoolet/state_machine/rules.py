"""The settings of the state machine that an operator can change."""

from typing import NamedTuple

from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES, max_txn_bytes_of

DEFAULT_MOST_EPHEMERALS = DEFAULT_MOST_WATCHES = 1_000_000
DEFAULT_MOST_READ_PARTS = 1000
DEFAULT_MOST_READ_BYTES = 64 << 20
DEFAULT_MOST_PATH_LENGTH = 16 << 10
DEFAULT_MOST_ACL_ENTRIES = 1000
DEFAULT_MOST_IDENTITIES = 128


class Rules(NamedTuple):
    """The settings that decide which requests are refused.

    Attributes:
        allows_ttl: whether znodes may have a time to live (``extendedTypesEnabled``).
        enforces_quota: whether a write that exceeds a quota's hard limit is refused
            (``enforceQuota``).
        most_ephemerals: the maximum number of ephemerals of one session
            (``zoolet.maxEphemeralsPerSession``); a create that exceeds it is refused with
            QUOTA_EXCEEDED.
        most_watches: the maximum number of watches of one connection
            (``zoolet.maxWatchesPerConnection``); a request that exceeds it is refused with
            THROTTLED.
        most_read_parts: the maximum number of parts of a multiRead (``multiRead.maxOps``); a
            request with more parts is refused with BADARGUMENTS. 0 means no limit.
        most_read_bytes: the maximum number of bytes in the results of a multiRead
            (``multiRead.maxResponseBytes``); a request with larger results is refused with
            BADARGUMENTS. 0 means no limit.
        most_path_length: the maximum number of characters in the path of a new znode
            (``zoolet.maxPathLength``).
        max_txn_bytes: the maximum number of bytes of a txn. A request with a larger txn is refused.
            An ephemeral is refused too if its path would make the txn that closes its session
            exceed this maximum.
        most_acl_entries: the maximum number of entries in a list that a request sets
            (``zoolet.maxEntriesPerAcl``), after ``auth`` is replaced by identities; a longer list
            is refused with INVALID_ACL. Existing znodes may have longer lists.
        most_identities: the maximum number of identities that a client may prove on a connection
            (``zoolet.maxIdentitiesPerConnection``); one more is refused with AUTH_FAILED.
        schemes: the schemes that an ACL entry may have, besides ``world`` and ``auth``.
        has_x509_subjects: whether the ids of the scheme x509 are subjects of certificates. If not
            (``X509AuthenticationProvider.clientCertIdType=SAN``), every id of this scheme is valid.
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
    has_x509_subjects: bool = True
