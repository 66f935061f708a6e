"""Outages in a real browser: what the page says, and that it recovers without a new start."""

import contextlib
import socket
from typing import Any

from tests.browser.conftest import Serve, on_both
from tests.browser.quality import check_quality
from tests.support.rawclient import connect_frame, request_frame
from tests.support.waiting import WAIT_S, wait_until
from tests.support.web import settings_of
from tests.support.web_streams import Page, serving
from zoolet.client import Client, SessionId
from zoolet.model.codes import OpCode
from zoolet.testing.servers.base import ManagedServer


@on_both
def test_a_server_that_stops_and_returns(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    zk.create("/app", b"data")
    zk.create("/app/one", b"")
    url = serve(settings_of(server.hosts, connect_timeout_ms=300))
    tab.goto(f"{url}/c/local/tree?path=/")
    tab.locator("#rows").get_by_text("app", exact=True).wait_for()
    server.kill()
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

    def is_shown() -> bool:
        tab.goto(f"{url}/c/local/tree?path=/app")
        return bool(tab.locator("#znode .error").count() == 0)

    wait_until(is_shown, "the page has a session again")
    tab.locator("#znode").get_by_text("data", exact=True).wait_for()
    tab.locator("#rows").get_by_text("app", exact=True).wait_for()


def session_of(page: Page) -> SessionId:
    """Return the session of the page at ZooKeeper."""
    (connection,) = page.site.clients._connections.values()
    found: SessionId = connection.client.session_id
    return found


def expire(server: ManagedServer, session: SessionId) -> None:
    """Continue a session on another connection and close it: for its client, it has expired.

    If the client has the session back before the end, nothing happens: try again.
    """
    sent = connect_frame(4000, session.id, session.password)
    with (
        socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(sent + request_frame(1, OpCode.CLOSE_SESSION))
        while connection.recv(4096):
            pass


@on_both
def test_a_session_that_expires_under_the_page(tab: Any, server: ManagedServer, zk: Client) -> None:
    zk.create("/app", b"data")
    with serving(settings_of(server.hosts)) as page:
        tab.goto(f"{page.url}/c/local/tree?path=/app")
        tab.locator("#data").get_by_text("data", exact=True).wait_for()
        zk.set("/app", b"followed")
        tab.locator("#data").get_by_text("followed").wait_for()
        before = session_of(page)

        def is_replaced() -> bool:
            if session_of(page).id == before.id:
                expire(server, before)
            return session_of(page).id != before.id

        wait_until(is_replaced, "the page has another session")
        zk.set("/app", b"after it")
        tab.locator("#data").get_by_text("after it").wait_for()  # without a reload
        tab.locator("#live:empty").wait_for(state="attached")
        tab.reload()
        tab.locator("#data").get_by_text("after it").wait_for()
