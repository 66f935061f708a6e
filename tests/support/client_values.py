"""Random requests and replies of a client, for property tests."""

from hypothesis import strategies as st

from tests.support.strategies import ACLS, DATA, INT32, INT64, PATHS, TEXT
from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.requests import Check, Connect, Create, Delete, PartRequest, SetData, SetWatches
from zoolet.model.stat import Stat

PATH_LISTS = st.lists(PATHS, max_size=4).map(tuple)
STATS = st.builds(Stat, INT64, INT64, INT64, INT64, INT32, INT32, INT32, INT64, INT32, INT32, INT64)
CONNECTS = st.booleans().flatmap(
    lambda has: st.builds(
        Connect,
        INT32,
        INT64,
        INT32,
        INT64,
        st.binary(max_size=20),
        st.booleans() if has else st.just(False),
        st.just(has),
    )
)
SET_WATCHES = st.builds(
    SetWatches, INT64, PATH_LISTS, PATH_LISTS, PATH_LISTS, PATH_LISTS, PATH_LISTS
)

PLAIN_FLAGS = st.sampled_from(
    [mode.value for mode in CreateMode if not mode.has_ttl and mode is not CreateMode.CONTAINER]
)
TTL_FLAGS = st.sampled_from([mode.value for mode in CreateMode if mode.has_ttl])
PARTS: st.SearchStrategy[tuple[int, PartRequest]] = st.one_of(
    st.tuples(
        st.sampled_from([OpCode.CREATE.value, OpCode.CREATE2.value]),
        st.builds(Create, PATHS, DATA, ACLS, PLAIN_FLAGS),
    ),
    st.tuples(
        st.just(OpCode.CREATE_CONTAINER.value),
        st.builds(
            Create,
            PATHS,
            DATA,
            ACLS,
            st.just(CreateMode.CONTAINER.value),
            st.just(OwnerKind.CONTAINER),
        ),
    ),
    st.tuples(
        st.just(OpCode.CREATE_TTL.value),
        st.builds(Create, PATHS, DATA, ACLS, TTL_FLAGS, st.just(OwnerKind.TTL), INT64),
    ),
    st.tuples(st.just(OpCode.DELETE.value), st.builds(Delete, PATHS, INT32)),
    st.tuples(st.just(OpCode.SET_DATA.value), st.builds(SetData, PATHS, DATA, INT32)),
    st.tuples(st.just(OpCode.CHECK.value), st.builds(Check, PATHS, INT32)),
)
READS_IN_MULTI = st.tuples(
    st.sampled_from([OpCode.GET_DATA.value, OpCode.GET_CHILDREN.value]), PATHS
)
IDENTITIES = st.lists(st.tuples(TEXT, TEXT), max_size=4)
