"""Which requests an observer must not forward, although they can be decoded.

Apache ZooKeeper's leader ends if it gets one of them. One client must not end the leader.
"""

from typing import Final

from zoolet.model.codes import CreateMode, ErrorCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.requests import Create, Multi, WriteRequest

_TTL_FLAGS: Final = frozenset(
    {
        CreateMode.PERSISTENT_WITH_TTL.value,
        CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL.value,
    }
)
_LIMITS_OF_THE_ROOT: Final = "/zookeeper/quota/zookeeper_limits"


def reason_to_refuse(request: WriteRequest) -> ErrorCode | None:
    """Return the error for a request that would end the leader; None for other requests.

    The two requests are a createTTL with a negative TTL whose flags have no TTL (the leader cannot
    apply its txn), and the create of the limits of a quota for the root.
    """
    if isinstance(request, Create):
        is_ttl = request.kind is OwnerKind.TTL
        if is_ttl and request.ttl_ms < 0 and request.flags not in _TTL_FLAGS:
            return ErrorCode.BAD_ARGUMENTS
        return ErrorCode.BAD_ARGUMENTS if request.path == _LIMITS_OF_THE_ROOT else None
    if isinstance(request, Multi):
        for _, part in request.operations:
            if isinstance(part, Create) and part.path == _LIMITS_OF_THE_ROOT:
                return ErrorCode.BAD_ARGUMENTS
    return None
