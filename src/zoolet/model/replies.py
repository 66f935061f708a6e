"""What came of a txn, as its reply tells it."""

from typing import NamedTuple

from zoolet.model.codes import OpCode


class TxnResult(NamedTuple):
    """The outcome of one txn, or of one part of a multi.

    Attributes:
        op_code: the txn's type; ERROR where it was refused.
        err: an ErrorCode's value; 0 where it was done.
        path: the znode's path, with its sequence.
        stat: the packed Stat after it; empty where the reply has none.
        parts: the outcomes of a multi's operations, in order.
    """

    op_code: OpCode
    err: int = 0
    path: str = ""
    stat: bytes = b""
    parts: "tuple[TxnResult, ...]" = ()
