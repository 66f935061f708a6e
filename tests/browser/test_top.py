"""The busiest clients and paths in a real browser: refreshed, by keyboard, on a small screen.

Only zoolet takes samples of requests. For Apache ZooKeeper, the page shows counters and says why.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.conftest import LARGE, SMALL
from tests.browser.test_servers import SHIFTS
from tests.support.web import settings_of
from zoolet.client import Client
from zoolet.testing import ApacheServer, EmbeddedServer
from zoolet.web.settings import WebSettings

Serve = Callable[[WebSettings], str]
HOSTILE = "/<img src=x onerror=alert(1)>\u202e"


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoolet.web.top.looks.FRESH_S", 0.2)


def test_new_requests_appear_without_a_reload_or_a_shift(
    tab: Any, serve: Serve, server: EmbeddedServer
) -> None:
    tab.add_init_script(f"({SHIFTS})()")
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/top")
    tab.get_by_role("heading", name=server.hosts).wait_for()
    box = tab.get_by_role("region", name=f"Paths of {server.hosts}")
    box.focus()
    with Client(server.hosts) as zk:
        for number in range(40):
            zk.exists(f"/app/{number}/x{'x' * 4 * number}")
        tab.get_by_role("link", name="/app/39/").wait_for()
        server.stop()
        try:
            tab.get_by_text("does not answer: Connection refused").wait_for()
        finally:
            server.start()
        tab.get_by_text("requests/s").first.wait_for()
    assert tab.evaluate("window.shift") < 0.1


def test_from_a_path_to_its_znode_by_keyboard(
    tab: Any, serve: Serve, server: EmbeddedServer
) -> None:
    with Client(server.hosts) as zk:
        zk.create(HOSTILE)
        url = f"{serve(settings_of(server.hosts))}/c/local"
        tab.goto(f"{url}/tree")
        tab.get_by_role("link", name="Top", exact=True).press("Enter")
        box = tab.get_by_role("region", name=f"Paths of {server.hosts}")
        box.get_by_role("link", name=HOSTILE).press("Enter")
        tab.get_by_role("heading", name=HOSTILE).wait_for()
        assert tab.locator("img").count() == 0


def test_apache_has_counters_instead_of_samples(
    tab: Any, serve: Serve, apache_server: ApacheServer
) -> None:
    with Client(apache_server.hosts) as zk:
        zk.exists("/app")
        tab.goto(f"{serve(settings_of(apache_server.hosts))}/c/local/top")
        tab.get_by_text("takes no samples of requests: it is Apache ZooKeeper").wait_for()
        tab.get_by_text("with pings").wait_for()
        clients = tab.get_by_role("region", name=f"Addresses of clients of {apache_server.hosts}")
        clients.get_by_role("row", name="127.0.0.1").wait_for()
        assert tab.get_by_role("region", name=f"Paths of {apache_server.hosts}").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_nothing_is_wider_than_the_screen(
    tab: Any, serve: Serve, server: EmbeddedServer, scheme: str, size: dict[str, int]
) -> None:
    tab.set_viewport_size(size)
    tab.emulate_media(color_scheme=scheme)
    with Client(server.hosts) as zk:
        zk.exists(f"/{'x' * 300}")
        tab.goto(f"{serve(settings_of(server.hosts))}/c/local/top")
        tab.get_by_role("region", name=f"Paths of {server.hosts}").wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_without_javascript_the_page_shows_its_values(
    chromium: Any, serve: Serve, server: EmbeddedServer
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    with Client(server.hosts) as zk:
        zk.exists("/app")
        page = context.new_page()
        page.goto(f"{serve(settings_of(server.hosts))}/c/local/top")
        page.get_by_role("link", name="/app", exact=True).first.wait_for()
    context.close()
