"""Random txns for property tests."""

from hypothesis import strategies as st

from zoolet.model.acl import ACL, OPEN_ACL, READ_ONLY_ACL, Id
from zoolet.model.codes import OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import (
    CheckTxn,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
)

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
PATHS = TEXT.map("/{}".format)
DATA = st.none() | st.binary(max_size=20)
ACLS = st.sampled_from([OPEN_ACL, READ_ONLY_ACL, (ACL(5, Id("digest", "a:b")), OPEN_ACL[0])])

PLAIN = st.sampled_from([OwnerKind.NOBODY, OwnerKind.SESSION])
CREATES = st.builds(CreateTxn, TEXT, DATA, ACLS, PLAIN, INT32)
CONTAINERS = st.builds(CreateTxn, TEXT, DATA, ACLS, st.just(OwnerKind.CONTAINER), INT32)
TTLS = st.builds(CreateTxn, TEXT, DATA, ACLS, st.just(OwnerKind.TTL), INT32, INT64)
DELETES = st.builds(DeleteTxn, TEXT)
SETS = st.builds(SetDataTxn, TEXT, DATA, INT32)
CHECKS = st.builds(CheckTxn, TEXT, INT32)
ERRORS = st.builds(ErrorTxn, INT32)

PARTS = st.one_of(
    st.tuples(st.just(OpCode.CREATE), CREATES),
    st.tuples(st.just(OpCode.CREATE_CONTAINER), CONTAINERS),
    st.tuples(st.just(OpCode.CREATE_TTL), TTLS),
    st.tuples(st.sampled_from([OpCode.DELETE, OpCode.DELETE_CONTAINER]), DELETES),
    st.tuples(st.just(OpCode.SET_DATA), SETS),
    st.tuples(st.just(OpCode.CHECK), CHECKS),
    st.tuples(st.just(OpCode.ERROR), ERRORS),
)
BODIES = st.one_of(
    PARTS,
    st.tuples(st.just(OpCode.CREATE2), CREATES),
    st.tuples(st.just(OpCode.RECONFIG), SETS),
    st.tuples(st.just(OpCode.SET_ACL), st.builds(SetAclTxn, TEXT, ACLS, INT32)),
    st.tuples(st.just(OpCode.CREATE_SESSION), st.builds(CreateSessionTxn, INT32)),
    st.tuples(
        st.just(OpCode.CLOSE_SESSION),
        st.builds(CloseSessionTxn, st.none() | st.lists(PATHS, max_size=3).map(tuple)),
    ),
    st.tuples(st.just(OpCode.MULTI), st.builds(MultiTxn, st.lists(PARTS, max_size=4).map(tuple))),
)
TXNS = st.builds(
    lambda client, cxid, zxid, time, body: Txn(
        TxnHeader(client, cxid, zxid, time, body[0]), body[1]
    ),
    INT64,
    INT32,
    INT64,
    INT64,
    BODIES,
)
