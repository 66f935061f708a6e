"""A request whose txn is larger than itself, and has the size that a test wants.

It is a multi of creates with the ACL ``auth``: the txn holds the client's long identity instead.
"""

from tests.support.rawclient import RawClient
from zoolet.model.acl import ACL, Id
from zoolet.model.codes import OpCode, Xid
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import CreateTxn, MultiTxn, Txn, TxnHeader
from zoolet.state_machine.access import digest_of
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring
from zoolet.wire.txns import encode_txn

_CREDENTIALS = b"ann" + b"n" * 200 + b":secret"
_REQUEST_ACL = (ACL(31, Id("auth", "")),)
_TXN_ACL = (ACL(31, Id("digest", digest_of(_CREDENTIALS))),)


def authenticate(client: RawClient) -> None:
    """Prove the long identity."""
    body = INT.pack(0) + pack_ustring("digest") + pack_buffer(_CREDENTIALS)
    assert client.request(OpCode.AUTH, body, xid=Xid.AUTH).err == 0


def large_multi(txn_bytes: int) -> tuple[bytes, list[str]]:
    """Return the body of a multi whose txn has ``txn_bytes``, and the paths that it creates."""
    paths: list[str] = []
    while _txn_bytes([*paths, f"/{len(paths):03d}"]) <= txn_bytes:
        paths.append(f"/{len(paths):03d}")
    data = bytes(txn_bytes - _txn_bytes(paths))
    end = INT.pack(-1) + b"\1" + INT.pack(-1)
    return b"".join(_part(path, data if path == paths[0] else b"") for path in paths) + end, paths


def _part(path: str, data: bytes) -> bytes:
    body = pack_ustring(path) + pack_buffer(data) + pack_acl(_REQUEST_ACL) + INT.pack(0)
    return INT.pack(OpCode.CREATE) + b"\0" + INT.pack(-1) + body


def _txn_bytes(paths: list[str]) -> int:
    creates = tuple(
        (OpCode.CREATE, CreateTxn(path, b"", _TXN_ACL, OwnerKind.NOBODY, 1)) for path in paths
    )
    return len(encode_txn(Txn(TxnHeader(1, 1, 1, 1, OpCode.MULTI), MultiTxn(creates))))
