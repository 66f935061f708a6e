"""A server that stood still past the session timeout reads its sockets before sessions expire."""

import time
from pathlib import Path

from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.model.codes import ErrorCode, OpCode, Xid
from zoolet.testing import ServerProcess
from zoolet.wire.jute import pack_ustring

TIMEOUT_MS = 2000
SETTINGS = {"tickTime": 500, "minSessionTimeout": TIMEOUT_MS, "maxSessionTimeout": TIMEOUT_MS}


def error_of_exists(client: RawClient, path: str) -> int:
    return client.request(OpCode.EXISTS, pack_ustring(path) + b"\0").err


def test_a_ping_in_the_socket_keeps_the_session_and_silence_ends_it(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "server", SETTINGS) as server,
        RawClient(server.port) as living,
        RawClient(server.port) as silent,
    ):
        for client, path in ((living, "/living"), (silent, "/silent")):
            assert client.connect(TIMEOUT_MS).timeout_ms == TIMEOUT_MS
            assert client.create(path, flags=1).err == 0
        server.pause()
        living.send(OpCode.PING, xid=Xid.PING)
        # The clock of the sessions is real, so their timeout has to pass.
        until_s = time.monotonic() + 2 * TIMEOUT_MS / 1000
        wait_until(lambda: time.monotonic() >= until_s, "the session timeout")
        server.resume()
        assert living.read_reply().xid == Xid.PING
        wait_until(
            lambda: error_of_exists(living, "/silent") == ErrorCode.NO_NODE,
            "the end of the silent client's session",
        )
        assert error_of_exists(living, "/living") == 0
        assert silent.is_closed_by_server()
