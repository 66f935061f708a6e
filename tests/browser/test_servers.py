"""Servers, sessions and quotas in a real browser: refreshed parts, keyboard, small screens."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SMALL, Serve, log_in, on_both, wait_for_page
from tests.support.waiting import wait_until
from tests.support.web import settings_of, users_file
from zoolet.client import Client, CreateMode, QuotaExceededError
from zoolet.testing.servers.base import ManagedServer

HOSTILE = "<img src=x onerror=alert(1)>"
SHIFTS = """() => {
  window.shift = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
  }).observe({ type: 'layout-shift', buffered: true });
}"""


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoolet.web.servers.sampling.INTERVAL_S", 0.2)
    monkeypatch.setattr("zoolet.web.servers.sessions.FRESH_S", 0.0)


@on_both
def test_a_stopped_server_is_seen_without_a_reload_or_a_shift(
    tab: Any, serve: Serve, server: ManagedServer
) -> None:
    tab.add_init_script(f"({SHIFTS})()")
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/server")
    tab.locator("#figures").get_by_text("standalone").wait_for()
    charts = tab.locator(".chart svg[role=img]")
    wait_until(lambda: charts.count() == 8, "all charts")
    tab.locator("#figures .scroll").focus()
    server.kill()
    tab.locator("#figures").get_by_text("no answer").wait_for()
    server.start()
    tab.locator("#figures").get_by_text("standalone").wait_for()
    assert tab.evaluate("document.activeElement.className") == "scroll"
    assert tab.evaluate("window.shift") < 0.1


def test_the_page_itself_stops(tab: Any, serve: Serve, server: ManagedServer) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/server")
    tab.route("**/server", lambda route: route.abort())
    tab.locator("[data-refresh-status]").get_by_text("does not answer").wait_for()
    tab.unroute("**/server")
    tab.locator("[data-refresh-status]:empty").wait_for(state="attached")


@on_both
def test_from_an_ephemeral_to_its_session_and_back(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    zk.create(f"/{HOSTILE}", mode=CreateMode.EPHEMERAL)
    zk.add_watch("/watched", lambda _: None)
    name = f"{zk.session_id.id % (1 << 64):#x}"
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/sessions")
    tab.get_by_role("link", name=name).press("Enter")
    wait_for_page(tab, f"Session {name} in local")
    assert tab.get_by_role("heading", name="Watches: 1").count() == 1
    assert tab.get_by_role("link", name="/watched", exact=True).count() == 1
    assert tab.get_by_role("row", name="Latency").count() == 1
    tab.get_by_role("link", name=f"/{HOSTILE}").press("Enter")
    tab.get_by_role("heading", name=f"/{HOSTILE}").wait_for()
    tab.get_by_role("link", name=name).press("Enter")
    wait_for_page(tab, f"Session {name} in local")
    assert tab.get_by_role("heading", name="Ephemerals: 1").count() == 1
    assert tab.locator("img").count() == 0


@on_both
def test_a_full_quota_is_found_and_changed(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, tmp_path: Path
) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    for path in ("/app", "/app/one", "/app/two"):
        zk.create(path)
    tab.goto(f"{serve(settings)}/c/local/quota?path=/app")
    log_in(tab)
    tab.get_by_role("textbox", name="Znodes, hard limit").fill("3")
    tab.get_by_role("button", name="Set the quota in local").click()
    tab.get_by_text("100%, full").wait_for()
    with pytest.raises(QuotaExceededError):
        zk.create("/app/three")
    tab.get_by_role("link", name="/app", exact=True).click()
    tab.get_by_role("link", name="one", exact=True).wait_for()
    tab.get_by_role("textbox", name="Znodes, hard limit").fill("30")
    tab.get_by_role("button", name="Set the quota in local").click()
    tab.get_by_text("10%").first.wait_for()
    zk.create("/app/three")
    tab.get_by_text("13%").first.wait_for()  # by refresh.js
    tab.get_by_role("link", name="/app", exact=True).click()
    tab.get_by_role("button", name="Remove the quota in local").click()
    tab.get_by_text("0 quotas").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_small_screen(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, scheme: str
) -> None:
    url = serve(settings_of(server.hosts))
    tab.set_viewport_size(SMALL)
    tab.emulate_media(color_scheme=scheme)
    long = f"/{'x' * 300}"
    zk.create(long, mode=CreateMode.EPHEMERAL)
    name = f"{zk.session_id.id % (1 << 64):#x}"
    for page in ("server", "sessions", f"sessions/{name}", "quotas", f"quota?path={long}"):
        tab.goto(f"{url}/c/local/{page}")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, page
