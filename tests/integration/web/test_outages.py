"""Servers that stop, pause and return, and sessions that expire: the page recovers by itself."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.waiting import wait_until
from tests.support.web import JSON, Browser, browsing, settings_of
from zoolet.testing import EmbeddedServer

SHORT = {"tickTime": 100, "minSessionTimeout": 200, "maxSessionTimeout": 400}
"""Settings with which a session expires soon."""


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


def is_shown(web: Browser, path: str = "/") -> bool:
    url = f"/c/local/tree?path={path}"
    answer = web.client.get(url, headers=JSON)
    page = web.client.get(url)
    assert answer.status_code in {200, 502, 503, 504}
    assert page.status_code in {200, 502, 503, 504}
    if answer.status_code != 200:
        assert answer.json()["error"]
    return answer.status_code == page.status_code == 200


def test_a_server_that_stops_and_returns(own_server: EmbeddedServer) -> None:
    settings = settings_of(own_server.hosts, connect_timeout_ms=500)
    with browsing(settings) as web:
        assert is_shown(web)
        for _ in range(2):
            own_server.stop()
            web.client.get("/c/local/tree?path=/")  # it may notice that the connection is lost
            assert "no session" in web.get("/c/local/tree?path=/", 503)["error"]
            assert "no session" in web.html("/c/local/tree?path=/", 503)
            assert web.get("/")["list"]  # the other pages work
            own_server.start()
            wait_until(lambda: is_shown(web), "the page shows the znode again")


def test_a_server_that_is_not_there_at_the_start(own_server: EmbeddedServer) -> None:
    own_server.stop()
    with browsing(settings_of(own_server.hosts, connect_timeout_ms=500)) as web:
        assert "no session" in web.get("/c/local/tree?path=/", 503)["error"]
        own_server.start()
        wait_until(lambda: is_shown(web), "the page shows the znode")


def test_only_the_first_request_waits_for_a_server_that_never_answers() -> None:
    """The wait is far longer than the time limit of the test."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        browsing(
            settings_of(f"127.0.0.1:{silent.getsockname()[1]}", connect_timeout_ms=1000)
        ) as web,
    ):
        assert "no session within 1 s" in web.get("/c/local/tree?path=/", 503)["error"]
        web.client.app.state.site.clients._connect_timeout_s = 1e6  # type: ignore[attr-defined]
        for _ in range(3):
            error = web.get("/c/local/tree?path=/", 503)["error"]
            assert "no session within 1 s" in error
            assert error.endswith("The page tries to connect again by itself")


def test_a_session_that_expires(own_server: EmbeddedServer) -> None:
    with browsing(settings_of(own_server.hosts)) as web:
        assert is_shown(web)
        (session,) = own_server.inside.sessions()
        own_server.faults.expire(session.session_id)
        wait_until(lambda: is_shown(web), "the page has another session")
        (other,) = own_server.inside.sessions()
        assert other.session_id != session.session_id


def test_a_server_that_hangs_longer_than_the_session_timeout() -> None:
    with (
        EmbeddedServer(settings=SHORT) as server,
        browsing(settings_of(server.hosts, connect_timeout_ms=1000)) as web,
    ):
        assert is_shown(web)
        server.pause()
        web.client.get("/c/local/tree?path=/")
        assert "no session" in web.html("/c/local/tree?path=/", 503)
        server.resume()
        wait_until(lambda: is_shown(web), "the page shows the znode again")
