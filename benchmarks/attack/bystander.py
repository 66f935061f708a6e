"""A client that attacks nobody: one getData of its own ephemeral every 50 ms.

Run as a process of its own, so that the attacker's use of the interpreter does not disturb it:
``python -m benchmarks.attack.bystander PORT``. It prints ``ready`` when it has its session, goes on
until its standard input ends, then prints one line of JSON (``Seen``). It sends on schedule, also
while answers are missing, so a stall of one second shows as 20 slow requests.
"""

import contextlib
import json
import select
import socket
import struct
import sys
import time
from typing import NamedTuple

from benchmarks.attack import wire
from zoolet.model.codes import OpCode

INTERVAL_S = 0.05
SESSION_TIMEOUT_MS = 6000
PATH = "/bystander"

_LAST_ANSWERS_S = 10.0
_RECONNECT_S = 0.05
_TIMEOUT_S = 30.0


class Seen(NamedTuple):
    """What the bystander has seen.

    Attributes:
        lives: whether its session and its ephemeral were there to the end.
        reconnects: how often its connection was lost.
        samples: of each request, when it was sent (s, the system's monotonic clock) and after how
            many ms the answer came.
    """

    lives: bool
    reconnects: int
    samples: list[tuple[float, float]]

    @classmethod
    def from_json(cls, text: str) -> "Seen":
        """Read what ``main`` prints."""
        fields = json.loads(text)
        samples = [(sent_s, latency_ms) for sent_s, latency_ms in fields["samples"]]
        return cls(fields["lives"], fields["reconnects"], samples)


class Bystander:
    """The client; it connects when it is made."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._waiting: dict[int, float] = {}
        self._samples: list[tuple[float, float]] = []
        self._received = b""
        self._reconnects = 0
        self._lives = True
        self._socket = self._open()
        self._session = wire.connect(self._socket, SESSION_TIMEOUT_MS)
        self._socket.sendall(wire.create(0, PATH, b"here", wire.EPHEMERAL))
        wire.read_frame(self._socket)

    def run(self) -> Seen:
        """Send and receive until the standard input ends, or the server."""
        with contextlib.suppress(EOFError):
            self._send_and_receive()
        now_s = time.monotonic()
        unanswered = [(sent_s, (now_s - sent_s) * 1000) for sent_s in self._waiting.values()]
        return Seen(self._lives, self._reconnects, self._samples + unanswered)

    def _send_and_receive(self) -> None:
        at_s = time.monotonic()
        xid = 1
        ends_s = None
        while ends_s is None or (self._waiting and time.monotonic() < ends_s):
            if ends_s is None and time.monotonic() >= at_s:
                self._waiting[xid] = time.monotonic()
                self._send(xid)
                xid += 1
                at_s += INTERVAL_S
            readers = [self._socket] if ends_s is not None else [self._socket, sys.stdin]
            timeout_s = max(0.0, at_s - time.monotonic()) if ends_s is None else INTERVAL_S
            ready, _, _ = select.select(readers, [], [], timeout_s)
            if self._socket in ready:
                self._receive()
            if sys.stdin in ready:
                ends_s = time.monotonic() + _LAST_ANSWERS_S

    def _open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), _TIMEOUT_S)

    def _send(self, xid: int) -> None:
        try:
            self._socket.sendall(wire.path_watch(xid, OpCode.GET_DATA, PATH))
        except OSError:
            self._reconnect()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._reconnect()
            return
        now_s = time.monotonic()
        self._received += data
        while len(self._received) >= wire.REPLY_HEADER.size:
            length, xid, _, err = wire.REPLY_HEADER.unpack_from(self._received)
            if len(self._received) < 4 + length:
                break
            self._received = self._received[4 + length :]
            self._lives = self._lives and err == 0
            if (sent_s := self._waiting.pop(xid, None)) is not None:
                self._samples.append((sent_s, (now_s - sent_s) * 1000))

    def _reconnect(self) -> None:
        """Take the session up again, or begin one; ask again what was not answered.

        Raises EOFError if the server takes no connection.
        """
        self._reconnects += 1
        self._received = b""
        self._socket.close()
        deadline_s = time.monotonic() + SESSION_TIMEOUT_MS / 1000
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError, EOFError, struct.error):
                self._socket = self._open()
                again = wire.connect(self._socket, SESSION_TIMEOUT_MS, self._session)
                if not again.timeout_ms:
                    self._lives = False
                    self._socket.close()
                    self._socket = self._open()
                    self._session = wire.connect(self._socket, SESSION_TIMEOUT_MS)
                for xid in self._waiting:
                    self._socket.sendall(wire.path_watch(xid, OpCode.GET_DATA, PATH))
                return
            time.sleep(_RECONNECT_S)
        self._lives = False
        raise EOFError("the server takes no connection")


def main() -> None:
    """Be the bystander of the server on the port that the first argument names."""
    bystander = Bystander(int(sys.argv[1]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    json.dump(bystander.run()._asdict(), sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
