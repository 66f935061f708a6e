"""What clients do, however they end, leaves no traceback in the server's log.

`make test-pure` runs this on asyncio's own event loop, which calls more methods of a connection
than uvloop does.
"""

import importlib.util
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.rawclient import RawClient
from tests.support.scripts import run_script
from zoolet.model.build import DESCRIPTION, KIND
from zoolet.testing import ServerProcess
from zoolet.testing.servers.base import ADDRESS


def open_socket(server: ServerProcess) -> socket.socket:
    return socket.create_connection((ADDRESS, server.port), timeout=10)


def end_a_session(server: ServerProcess) -> None:
    with RawClient(server.port) as client:
        client.connect()
        client.create("/a", b"x")


def say_nothing(server: ServerProcess) -> None:
    open_socket(server).close()


def shut_down_one_direction(server: ServerProcess) -> None:
    with open_socket(server) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def reset(server: ServerProcess) -> None:
    with open_socket(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def send_half_a_frame(server: ServerProcess) -> None:
    with open_socket(server) as connection:
        connection.sendall(b"\0\0\0\x20abc")


def ask_a_word(server: ServerProcess) -> None:
    assert server.ask("ruok") == "imok"


WAYS = [
    end_a_session,
    say_nothing,
    shut_down_one_direction,
    reset,
    send_half_a_frame,
    ask_a_word,
]


@pytest.mark.parametrize("end", WAYS)
def test_a_connection_that_ends_leaves_no_traceback(
    tmp_path: Path, end: Callable[[ServerProcess], None]
) -> None:
    with ServerProcess(tmp_path) as server:
        for _ in range(3):
            end(server)
        # Its connection comes behind the others, so what they leave is in the log by then.
        end_a_session(server)
        assert server.stop() == 0
        assert "Traceback" not in server.log, server.log


def test_uvloop_is_used_only_if_it_is_there(tmp_path: Path) -> None:
    """So that `make test-pure`, which hides it, does not use it."""
    with ServerProcess(tmp_path) as server:
        maps = Path(f"/proc/{server.pid}/maps").read_text()
    try:
        is_there = importlib.util.find_spec("uvloop") is not None and bool(__import__("uvloop"))
    except ImportError:
        is_there = False
    assert ("uvloop" in maps) == is_there


def test_the_log_envi_and_the_command_say_whether_the_server_is_compiled(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        first_line, envi = server.log.splitlines()[0], server.ask("envi").splitlines()
    assert KIND in {"compiled", "pure Python"}
    assert f"zoolet {DESCRIPTION} starts as process " in first_line
    assert f"zoolet.build={KIND}" in envi
    assert run_script("zoolet", "--version").stdout == f"zoolet {DESCRIPTION}\n"
