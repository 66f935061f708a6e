"""Authentication with SASL over a raw connection."""

import itertools

from tests.support.rawclient import RawClient, RawReply
from zoolet.model.acl import ACL, Id
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.wire.digest_md5 import DigestClient
from zoolet.wire.jute import Reader, pack_buffer, pack_ustring

SERVICE, REALM = "zookeeper", "zk-sasl-md5"
PROVIDER = {"authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}

_NUMBERS = itertools.count()


def sasl(client: RawClient, token: bytes | None) -> RawReply:
    """Send a token."""
    return client.request(OpCode.SASL, pack_buffer(token))


def token_of(reply: RawReply) -> bytes | None:
    """Return the token of the server."""
    return Reader(reply.body).read_buffer()


def log_in(client: RawClient, user: str, password: str) -> RawReply:
    """Return the reply to the proof of a password."""
    challenge = token_of(sasl(client, b""))
    assert challenge is not None
    return sasl(client, DigestClient(user, password, SERVICE, REALM, "c").respond(challenge))


def ids_of(client: RawClient, scheme: str = "sasl") -> list[str]:
    """Return the names of a scheme that an ACL with the scheme auth gets."""
    path = f"/ids-{next(_NUMBERS)}"
    created = client.create(path, acl=(ACL(31, Id("auth", "")),))
    if created.err:
        assert created.err == ErrorCode.INVALID_ACL
        return []
    body = client.request(OpCode.GET_ACL, pack_ustring(path)).body
    reader = Reader(body)
    found = []
    for _ in range(reader.read_int()):
        reader.read_int()
        found.append((reader.read_ustring(), reader.read_ustring()))
    return [name for kind, name in found if kind == scheme]
