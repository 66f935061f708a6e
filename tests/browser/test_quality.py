"""The quality of every page: axe-core, layout shift, small screens; and that the checks can fail.

Each page without parameters besides the cluster is checked, also a page that is new. A page that
needs more parameters gets a line in `PAGES`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.conftest import SMALL, cookies_of_editor
from tests.browser.quality import (
    check_axe,
    check_layout_shift,
    check_looks,
    check_quality,
    check_width,
)
from tests.support.web import routes, settings_of, users_file
from tests.support.web_streams import serving
from zoolet.client import Client
from zoolet.testing import EmbeddedServer
from zoolet.web.settings import WebSettings

Serve = Callable[[WebSettings], str]

LONG = "long-" + "x" * 300
HOSTILE = "\u202e<b>right to left"
PAGES = [
    "/nothing",
    "/c/none/tree",
    "/c/local/delete?path=/z",
    "/c/local/tree?path=/json",
    "/c/local/tree?path=/binary",
    "/c/local/tree?path=/none",
    f"/c/local/tree?path=/{LONG}",
    f"/c/local/tree?path=/{HOSTILE}",
    "/c/local/tree?path=/z&filter=nothing-has-this-name",
    "/c/local/tree?path=/&root=/json",
]
"""Pages with parameters."""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        with Client(running.hosts) as zk:
            zk.create("/binary", bytes(range(256)) * 4000)
            zk.create("/json", b'{"a": {"b": "<script>alert(2)</script>"}}')
            zk.create(f"/{LONG}", b"y" * 5000)
            zk.create(f"/{HOSTILE}", HOSTILE.encode())
            zk.create("/z", b"")
        yield running


@pytest.fixture(scope="module")
def editors(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a page on which editors may change something."""
    users = users_file(tmp_path_factory.mktemp("editors"))
    with serving(settings_of(server.hosts, users_file=users, allows_changes=True)) as running:
        yield running.url


@pytest.fixture(scope="module")
def cookies(chromium: Any, editors: str) -> Any:
    return cookies_of_editor(chromium, editors)


def simple_pages() -> list[str]:
    """Return the URLs of the pages that need no parameter but the cluster.

    The URL of a stream ends with ``/live``: it is no page, and its load does not end.
    """
    urls = [route.path.replace("{cluster}", "local") for route in routes("GET")]
    return sorted(url for url in urls if "{" not in url and not url.endswith("/live"))


@pytest.mark.parametrize("page", simple_pages() + PAGES, ids=ascii)
def test_every_page_has_the_quality(
    tab: Any, serve: Serve, server: EmbeddedServer, page: str
) -> None:
    show(tab, serve(settings_of(server.hosts)) + page)
    check_quality(tab)


@pytest.mark.parametrize("page", simple_pages() + PAGES, ids=ascii)
def test_every_page_of_an_editor_has_the_quality(
    tab: Any, editors: str, cookies: Any, page: str
) -> None:
    tab.context.add_cookies(cookies)
    show(tab, editors + page)
    tab.get_by_role("button", name="Log out").wait_for()
    check_layout_shift(tab)
    tab.evaluate("document.querySelectorAll('details').forEach((found) => { found.open = true; })")
    check_looks(tab)


def show(tab: Any, url: str) -> None:
    """Open a page; skip what is no page but JSON, or a stream of events that does not end."""
    answer = tab.goto(url, wait_until="commit")
    if not answer.headers["content-type"].startswith("text/html"):
        pytest.skip("this URL always answers with JSON, a file or a stream")
    tab.wait_for_load_state("load")


BAD: dict[Callable[[Any], None], str] = {
    check_axe: "<img src='data:,'>",
    check_width: "<p style='width: 500px'>wide</p>",
}


@pytest.mark.parametrize("check", BAD)
def test_a_check_finds_a_fault(tab: Any, check: Callable[[Any], None]) -> None:
    tab.set_viewport_size(SMALL)
    tab.set_content(f"<html lang=en><title>x</title><main><h1>x</h1>{BAD[check]}</main>")
    with pytest.raises(AssertionError):
        check(tab)


def test_a_layout_shift_is_found(tab: Any) -> None:
    tab.goto(f"data:text/html,{'<p>moved</p>' * 20}")
    check_layout_shift(tab)
    tab.evaluate(
        """() => new Promise((resolve) => {
          requestAnimationFrame(() => {
            const first = document.createElement("div");
            first.style.height = "500px";
            document.body.prepend(first);
            requestAnimationFrame(() => requestAnimationFrame(resolve));
          });
        })"""
    )
    with pytest.raises(AssertionError):
        check_layout_shift(tab)
