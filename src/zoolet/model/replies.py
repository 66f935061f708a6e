"""What came of a txn, as its reply tells it."""

from typing import final

from mypy_extensions import mypyc_attr

from zoolet.model.record import Record


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class TxnResult(Record):
    """The outcome of one txn, or of one part of a multi.

    Attributes:
        op_code: the txn's type; ERROR where it was refused.
        err: an ErrorCode's value; 0 where it was done.
        path: the znode's path, with its sequence.
        record: the znode after it, as its getData is answered; empty where the reply has none.
        parts: the outcomes of a multi's operations, in order.
    """

    __slots__ = ("op_code", "err", "path", "record", "parts")

    def __init__(
        self,
        op_code: int,
        err: int = 0,
        path: str = "",
        record: bytes = b"",
        parts: "tuple[TxnResult, ...]" = (),
    ) -> None:
        self.op_code = op_code
        self.err = err
        self.path = path
        self.record = record
        self.parts = parts
