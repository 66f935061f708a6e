"""The results of txns, for their replies."""

from typing import final

from mypy_extensions import mypyc_attr

from zoolet.model.record import Record


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class TxnResult(Record):
    """The result of one txn, or of one part of a multi.

    Attributes:
        op_code: the txn's type; ERROR if it was refused.
        err: the number of an ErrorCode; 0 if there was no error.
        path: the znode's path, including its sequence number.
        record: the znode's record after the txn; empty if the reply contains none of it.
        parts: the results of a multi's operations, in order.
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
