"""What a step is, and what a release of ZooKeeper does otherwise than the newest."""

from typing import NamedTuple


class Request(NamedTuple):
    """A request as it is sent."""

    xid: int
    op_code: int
    body: bytes


class Burst(NamedTuple):
    """Requests that a client sends one after another, without waiting for replies."""

    client: int
    requests: tuple[Request, ...]


class Reconnect(NamedTuple):
    """A client's next connection: to the session that it has, or to a new one.

    Attributes:
        cuts_first: the old connection is closed first; otherwise the session moves away from it.
        forgets_session: it asks for a new session.
        spoils_password: it brings a password that is wrong.
        last_zxid_offset: added to the last zxid that it has seen.
        tail: what follows the password in the connect request; 3.4's clients send nothing.
    """

    client: int
    cuts_first: bool = True
    forgets_session: bool = False
    spoils_password: bool = False
    last_zxid_offset: int = 0
    tail: bytes = b"\0"


Step = Burst | Reconnect


class Dialect(NamedTuple):
    """What the compared release does otherwise than 3.9.5, so that it is not asked for.

    Attributes:
        exists_checks_acl: exists needs READ; before 3.9 it needs nothing.
        refuses_check: check outside a multi is refused; 3.8.0 logs it and cannot start again.
        tells_watches_apart: a client may have a standard, a persistent and a recursive watch on one
            path; before 3.9 the last one counts, and checkWatches finds other clients' too.
        reads_flags_in_multi: a multi with flags of no mode, or of a TTL, is malformed.
        malformed_takes_no_zxid: only a malformed multi takes a zxid; before 3.9 every write does.
        events_carry_zxid: a watch event's header has the zxid of the txn.
        knows_all_acls: an ip ACL may have an IPv6 address; nulls and x509 are answered as in 3.9.5.
        config_is_common: /zookeeper/config is the same on both servers.
        answers_malformed: a write or a reconfig that cannot be read is answered.
    """

    exists_checks_acl: bool = True
    refuses_check: bool = True
    tells_watches_apart: bool = True
    reads_flags_in_multi: bool = True
    malformed_takes_no_zxid: bool = True
    events_carry_zxid: bool = True
    knows_all_acls: bool = True
    config_is_common: bool = True
    answers_malformed: bool = True


RELEASE_3_9 = Dialect()
RELEASE_3_8 = Dialect(
    exists_checks_acl=False,
    refuses_check=False,
    tells_watches_apart=False,
    reads_flags_in_multi=False,
    malformed_takes_no_zxid=False,
    events_carry_zxid=False,
    knows_all_acls=False,
)


def of_observers(dialect: Dialect) -> Dialect:
    """Return what observers of a release may be asked for.

    Apache's observer forwards a request that it cannot read, and the leader answers only a multi.
    The answer takes a zxid. zoolet's observer answers such requests itself. /zookeeper/config of
    Apache's observer has a line of its own.
    """
    return dialect._replace(
        answers_malformed=False, reads_flags_in_multi=False, config_is_common=False
    )
