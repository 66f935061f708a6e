"""Where a server can listen, and which errors of an event loop are harmless."""

import errno
import socket
import ssl

import pytest

from tests.support.loops import count_descriptors
from zoolet.server.sockets.listening import (
    ListeningSocket,
    is_broken_connection,
    open_listening_sockets,
)
from zoolet.server.zoo_cfg.config import Listener

BACKLOG = 1000

# --- Addresses


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def opened(address: str | None, port: int = 0) -> list[ListeningSocket]:
    return open_listening_sockets(Listener(address, port), BACKLOG)


@pytest.mark.parametrize("address", [None, "::"])
def test_every_address_is_both_families_with_one_port(address: str | None) -> None:
    sockets = opened(address)
    hosts = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
    try:
        assert len({listening.port for listening in sockets}) == 1
        for host in hosts:
            socket.create_connection((host, sockets[0].port)).close()
    finally:
        for listening in sockets:
            listening.socket.close()


@pytest.mark.parametrize(("address", "other"), [("127.0.0.1", "::1"), ("0.0.0.0", "::1")])
def test_one_family_is_not_the_other(address: str, other: str) -> None:
    (listening,) = opened(address)
    with listening.socket, pytest.raises(ConnectionRefusedError):
        socket.create_connection((other, listening.port))


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback interface")
def test_an_ipv6_address_alone() -> None:
    (listening,) = opened("::1")
    with listening.socket:
        with socket.create_connection(("::1", listening.port)):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listening.port))


def test_a_port_that_is_taken_leaves_no_socket() -> None:
    descriptors = count_descriptors()
    (listening,) = opened("127.0.0.1")
    with listening.socket, pytest.raises(OSError, match="in use"):
        opened(None, listening.port)
    assert count_descriptors() <= descriptors


def test_a_name_that_does_not_resolve_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"[Nn]ame|resol"):
        opened("no-such-host.invalid")


# --- What an event loop reports


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        BrokenPipeError(),
        OSError(errno.EHOSTUNREACH, "no route"),
        OSError(errno.EPROTOTYPE, "macOS, while the peer closes"),
        TimeoutError(),
        ssl.SSLError("bad record"),
    ],
)
def test_a_broken_connection_is_harmless(error: OSError) -> None:
    assert is_broken_connection(
        {"message": "Fatal read error", "exception": error, "transport": object()}
    )


@pytest.mark.parametrize(
    "context",
    [
        {"message": "Fatal error on transport", "exception": KeyError(), "transport": object()},
        {"message": "Fatal error on transport", "exception": MemoryError(), "transport": object()},
        {
            "message": "Fatal error: protocol.data_received() call failed.",
            "exception": ConnectionResetError(),
            "transport": object(),
        },
        {
            "message": "protocol.pause_writing() failed",
            "exception": OSError(errno.EPIPE, "broken"),
            "transport": object(),
        },
        {"message": "Exception in callback", "exception": ConnectionResetError()},
        {
            "message": "Fatal error on transport",
            "exception": OSError(errno.EIO, "disk"),
            "transport": object(),
        },
        {"message": "no exception", "transport": object()},
    ],
)
def test_nothing_else_is_harmless(context: dict[str, object]) -> None:
    assert not is_broken_connection(context)
