"""The requests that a session sends itself, as frames. Imports ``model`` and ``wire``."""

from typing import Final

from zoolet.big_endian.buffers import BytesWriter
from zoolet.model.codes import OpCode, Xid
from zoolet.model.requests import Connect, SetWatches
from zoolet.wire.request_frames import (
    write_auth,
    write_bare,
    write_connect,
    write_sasl,
    write_set_watches,
)

_PING: Final = Xid.PING.value
_PING_OP: Final = OpCode.PING.value


def connect_frame(wanted: Connect) -> bytes:
    """Return the first frame of a connection."""
    writer = BytesWriter()
    write_connect(writer, wanted)
    return writer.getvalue()


def auth_frame(scheme: str, credential: bytes) -> bytes:
    """Return the frame of a login; raises UnicodeEncodeError for a scheme that has no UTF-8."""
    writer = BytesWriter()
    write_auth(writer, scheme, credential)
    return writer.getvalue()


def sasl_frame(xid: int, token: bytes) -> bytes:
    """Return the frame with a token of SASL."""
    writer = BytesWriter()
    write_sasl(writer, xid, token)
    return writer.getvalue()


def set_watches_frame(watches: SetWatches) -> bytes:
    """Return a frame that sets watches again."""
    writer = BytesWriter()
    write_set_watches(writer, watches)
    return writer.getvalue()


def ping_frame() -> bytes:
    """Return the frame of a ping."""
    writer = BytesWriter()
    write_bare(writer, _PING, _PING_OP)
    return writer.getvalue()
