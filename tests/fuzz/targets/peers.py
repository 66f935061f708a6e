"""Bytes of other servers: what a client, an observer or an archiver receives, and logins."""

from contextlib import suppress

from tests.fuzz.targets.snapshots import streamed_snapshot
from tests.fuzz.targets.target import Target, pieces_of
from tests.support.client_peer import untyped
from tests.support.fake_zookeeper import granted
from zoolet.client.errors import ProtocolError
from zoolet.client.protocol.batches import Multi, MultiRead
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.session import ClientSession
from zoolet.model.acl import OPEN_ACL, Id
from zoolet.model.codes import CreateMode, EventType, OpCode
from zoolet.model.learner import PacketType, QuorumPacket
from zoolet.model.stat import Stat
from zoolet.wire.digest_md5 import DigestClient, DigestError, DigestServer
from zoolet.wire.election import NotificationReader, ask
from zoolet.wire.ensemble_config import decode_config
from zoolet.wire.frames import encode_reply
from zoolet.wire.jute import INT, MalformedError, pack_acl, pack_buffer, pack_ustring, pack_ustrings
from zoolet.wire.learner import (
    PacketReader,
    decode_activation,
    decode_protocol_version,
    decode_revalidation,
    encode_packet,
    encode_revalidation,
)
from zoolet.wire.quorum_auth import AuthReader, AuthStatus, encode_auth
from zoolet.wire.replies import encode_event, encode_identities
from zoolet.wire.snapshot_stream import SnapshotScanner

_LIMIT_BYTES = 1 << 16
_REALM, _SERVICE, _NONCE = "zk-sasl-md5", "zookeeper", "a nonce"


def _receive(data: bytes) -> None:
    """Give the bytes to the session of a client that waits for a reply of each kind."""
    session, make = ClientSession(9000, chroot="/app"), RequestMaker("/app")
    session.connected()
    calls = [
        untyped(make.get("/a", print)),
        untyped(make.children("/", print)),
        untyped(make.exists("/a", print)),
        untyped(make.create("/a", b"data", CreateMode.PERSISTENT, OPEN_ACL, 0)),
        untyped(make.multi(Multi().create("/a", b"x").delete("/a").check("/b", version=1))),
        untyped(make.multi_read(MultiRead().get("/a").children("/"))),
        untyped(make.get_acl("/a")),
        untyped(make.who_am_i()),
    ]
    session.login(untyped(make.login()), "digest", b"a:b")
    for call in calls:
        session.start(call)
    try:
        session.receive(granted(7))
        session.data_to_send()
        for piece in pieces_of(data):
            session.receive(piece)
    finally:
        session.disconnected()
        assert not session.outstanding_bytes


_STAT = b"".join(
    number.to_bytes(4 if name in {"version", "cversion", "aversion", "data_length", "num_children"}
                    else 8)
    for name, number in zip(Stat._fields, range(1, 12), strict=True)
)  # fmt: skip
_REPLIES = (
    encode_reply(1, 9, 0, pack_buffer(b"data") + _STAT),
    encode_reply(2, 9, 0, pack_ustrings(["a", "b"]) + _STAT),
    encode_reply(3, 9, 0, _STAT),
    encode_reply(4, 9, 0, pack_ustring("/app/a") + _STAT),
    encode_reply(5, 9, 0, INT.pack(OpCode.ERROR) + b"\0" + INT.pack(-101) + INT.pack(-101)),
    encode_reply(7, 9, 0, pack_acl(OPEN_ACL) + _STAT),
    encode_reply(8, 9, 0, encode_identities([("ip", "127.0.0.1")])),
    encode_event(EventType.NODE_DATA_CHANGED, "/app/a", 9),
)


def _read_packets(data: bytes) -> None:
    reader = PacketReader(_LIMIT_BYTES)
    for piece in pieces_of(data):
        reader.feed(piece)
        while (found := reader.next()) is not None:
            if isinstance(found, QuorumPacket):
                _decode_content(found)
        assert 0 <= reader.pending_bytes <= _LIMIT_BYTES + len(data)


def _decode_content(packet: QuorumPacket) -> None:
    """Decode the content as each kind of packet; the encoded packet must be read as the same."""
    for decode in (decode_protocol_version, decode_revalidation, decode_activation):
        with suppress(MalformedError):
            decode(packet.data)
    again = PacketReader(2 * _LIMIT_BYTES)
    again.feed(encode_packet(packet))
    assert again.next() == packet


_PACKETS = (
    encode_packet(QuorumPacket(PacketType.PING, 7, None, None)),
    encode_packet(QuorumPacket(PacketType.REQUEST, -1, b"data", (Id("ip", "127.0.0.1"),))),
    encode_packet(
        QuorumPacket(PacketType.REVALIDATE, -1, encode_revalidation(7, 4000) + b"\1", ())
    ),
    encode_packet(QuorumPacket(PacketType.NEW_LEADER, 1 << 32, b"server.1=a:1:2:observer;3", None)),
    encode_packet(QuorumPacket(PacketType.SNAP, 7, None, None))
    + streamed_snapshot()
    + pack_ustring("BenWasHere"),
)


def _scan(data: bytes) -> None:
    scanner, waiting = SnapshotScanner(), b""
    for piece in pieces_of(data):
        waiting += piece
        position = scanner.scan(waiting, 0)
        assert 0 <= position <= len(waiting)
        waiting = waiting[position:]
        if scanner.is_complete:
            return


def _read_notifications(data: bytes) -> None:
    reader = NotificationReader()
    for piece in pieces_of(data):
        reader.feed(piece)
        while reader.next() is not None:
            pass


def _read_auth(data: bytes) -> None:
    reader = AuthReader()
    for piece in pieces_of(data):
        reader.feed(piece)
        while reader.next() is not None:
            pass


def _server() -> DigestServer:
    passwords = {"bob": "secret", "jürgen": "geheim"}
    return DigestServer(_REALM, _SERVICE, _REALM, _NONCE, passwords.get)


def _client(name: str, password: str) -> DigestClient:
    return DigestClient(name, password, _SERVICE, _REALM, "a cnonce")


def _accept(data: bytes) -> None:
    """Nobody who does not know the password is accepted: the fuzzer does not know it."""
    response = data
    known = {_client(*login).respond(_server().challenge())
             for login in (("bob", "secret"), ("jürgen", "geheim"))}  # fmt: skip
    user, _ = _server().accept(response)
    assert any(_values(response) == _values(one) for one in known), f"{user} without a password"


def _values(response: bytes) -> bytes | None:
    """Return the proof in a response, which only someone with the password can make."""
    _, _, rest = response.partition(b"response=")
    return rest.strip(b'"')[:32] or None


def _respond(data: bytes) -> None:
    client = _client("bob", "secret")
    client.respond(data)
    client.check(b"rspauth=" + data[:40])
    raise AssertionError("a server without the password is accepted")


TARGETS = {
    "replies": Target(
        _receive,
        (ProtocolError,),
        tuple(b"".join(_REPLIES[:count]) for count in range(1, len(_REPLIES) + 1)),
    ),
    "learner-packets": Target(_read_packets, (MalformedError,), _PACKETS),
    "snapshot-stream": Target(_scan, (MalformedError,), (streamed_snapshot(),)),
    "election": Target(_read_notifications, (MalformedError,), (ask(1, "127.0.0.1:3888")[34:],)),
    "ensemble-config": Target(
        decode_config,
        (MalformedError,),
        (
            b"server.2=[::1]:2888:3888|h2:1:2:observer;2181\nversion=100000000",
            b"server.1=h:1:2\ngroup.1=1:2\nweight.1=1",
        ),
    ),
    "quorum-auth": Target(
        _read_auth, (MalformedError,), (encode_auth(AuthStatus.IN_PROGRESS, b"token"),)
    ),
    "digest-server": Target(
        _accept, (DigestError,), (_client("bob", "wrong").respond(_server().challenge()),)
    ),
    "digest-client": Target(_respond, (DigestError,), (_server().challenge(),)),
}
