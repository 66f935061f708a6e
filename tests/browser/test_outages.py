"""Outages in a real browser: what the page says, and that it recovers without a new start."""

from collections.abc import Callable
from typing import Any

from tests.browser.quality import check_quality
from tests.support.web import settings_of
from zoolet.client import Client
from zoolet.testing import EmbeddedServer
from zoolet.web.settings import WebSettings

Serve = Callable[[WebSettings], str]


def test_a_server_that_stops_and_returns(tab: Any, serve: Serve) -> None:
    with EmbeddedServer() as server:
        with Client(server.hosts) as zk:
            zk.create("/app", b"data")
            zk.create("/app/one", b"")
        url = serve(settings_of(server.hosts, connect_timeout_ms=300))
        tab.goto(f"{url}/c/local/tree?path=/")
        tab.locator("#rows").get_by_text("app", exact=True).wait_for()
        server.stop()
        # The tree of the open page says it, and the part of a znode as well.
        tab.locator("#tree").focus()
        tab.keyboard.press("ArrowRight")
        tab.locator("#rows .failed").wait_for()
        tab.keyboard.press("Enter")
        tab.locator("#znode .error").wait_for()
        # So does a page that is loaded now.
        tab.goto(f"{url}/c/local/tree?path=/app")
        tab.locator("#znode").get_by_text("no session").wait_for()
        tab.locator("#rows").get_by_text("no session").wait_for()
        check_quality(tab)
        server.start()
        tab.goto(f"{url}/c/local/tree?path=/app")
        for _ in range(100):
            if tab.locator("#znode .error").count() == 0:
                break
            tab.reload()
        tab.locator("#znode").get_by_text("data", exact=True).wait_for()
        tab.locator("#rows").get_by_text("app", exact=True).wait_for()


def test_a_session_that_expires_under_the_page(tab: Any, serve: Serve) -> None:
    with EmbeddedServer() as server:
        with Client(server.hosts) as zk:
            zk.create("/app", b"data")
        tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/")
        tab.locator("#rows").get_by_text("app", exact=True).wait_for()
        for session in server.inside.sessions():
            server.faults.expire(session.session_id)
        tab.locator("#tree").focus()
        tab.keyboard.press("Enter")
        tab.get_by_role("heading", name="/app", exact=True).wait_for()
        for _ in range(100):
            if tab.locator("#znode .error").count() == 0:
                break
            tab.reload()
        tab.locator("#znode").get_by_text("data", exact=True).wait_for()
