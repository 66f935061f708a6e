"""Connections of browsers: many of them, those that stand still, a process without descriptors."""

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.waiting import WAIT_S, wait_until
from tests.support.web import settings_of
from tests.support.web_process import web_process
from tests.support.web_streams import Page, serving
from zoolet.client import Client
from zoolet.testing import EmbeddedServer
from zoolet.web import listening

LIMIT = 64
"""The limit of descriptors of a process."""


@pytest.fixture
def page(server: EmbeddedServer) -> Iterator[Page]:
    with serving(settings_of(server.hosts)) as running:
        yield running


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), WAIT_S)


def is_closed(connection: socket.socket) -> bool:
    """Wait for data or for the end; return whether the connection has ended."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_without_descriptors_the_page_refuses_connections_and_goes_on(
    server: EmbeddedServer, zk: Client, tmp_path: Path
) -> None:
    zk.create("/a", b"x")
    with (
        web_process(server.hosts, tmp_path) as web,
        connect(web.port) as follower,
        contextlib.ExitStack() as stack,
    ):
        browser = stack.enter_context(connect(web.port))
        follower.sendall(b"GET /c/local/live?znode=/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        events = follower.makefile("rb")
        next(line for line in events if b"event: znode" in line)
        resource.prlimit(web.process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        others = [stack.enter_context(connect(web.port)) for _ in range(2 * LIMIT)]
        assert all(is_closed(other) for other in others[LIMIT:])
        # A browser that is connected already sees the changes.
        zk.set("/a", b"y")
        next(line for line in events if b"event: znode" in line)
        # It gets also pages that nobody has opened before.
        browser.sendall(b"GET /c/local/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert browser.recv(100).startswith(b"HTTP/1.1 404 ")
        for other in others:
            other.close()

        def answers() -> bool:
            with contextlib.suppress(httpx2.HTTPError):
                return httpx2.get(web.url, timeout=WAIT_S).status_code == 200
            return False

        wait_until(answers, "the page accepts connections again")
        log = web.log.read_text()
        assert "Raise ulimit -n" in log
        assert len(log.splitlines()) < LIMIT


def test_a_browser_that_sends_no_request_loses_its_connection(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HEAD_S", 0.05)
    for sent in (b"", b"GET / HTTP/1.1\r\nHost:"):
        with connect(page.settings.port) as silent:
            silent.sendall(sent)
            assert is_closed(silent)


def test_a_form_may_take_longer_than_its_headers(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HEAD_S", 0.2)
    with connect(page.settings.port) as slow, connect(page.settings.port) as silent:
        slow.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\na")
        assert is_closed(silent)
        slow.sendall(b"=bc")
        assert slow.recv(100).startswith(b"HTTP/1.1 403 ")


def test_a_browser_that_reads_nothing_loses_its_connection(
    page: Page, zk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "READ_S", 0.05)
    zk.create("/big")
    for number in range(16):
        zk.create(f"/big/{number}", b"x" * 900_000)
    with connect(page.settings.port) as lazy:
        lazy.sendall(b"GET /c/local/export?path=/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        lazy.recv(1)
        wait_until(lambda: page.num_connections == 0, "the connection has ended")


def test_too_many_connections_are_closed_at_once(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "MOST_OPEN", 3)
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(connect(page.settings.port)) for _ in range(5)]
        assert all(is_closed(other) for other in others[3:])
        others[0].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not is_closed(others[0])


def test_a_used_address_leaves_no_descriptor(page: Page) -> None:
    with connect(page.settings.port) as one:
        before = one.fileno()
    for _ in range(10):
        with pytest.raises(OSError, match="in use"):
            listening.listening("127.0.0.1", page.settings.port)
    with connect(page.settings.port) as other:
        assert other.fileno() <= before + 2
