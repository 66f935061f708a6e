"""The tree in a real browser: rows, filter, keys, conflicts, hostile names, small screens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SMALL
from tests.support.web import PASSWORDS, settings_of, users_file
from zoolet.client import Client, Multi
from zoolet.testing import EmbeddedServer
from zoolet.web.settings import WebSettings

Serve = Callable[[WebSettings], str]
HOSTILE = ["<img src=x onerror=alert(1)>", "\u202eright to left", "{{7*7}}", "a&b=c#d?e%41"]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        with Client(running.hosts) as zk:
            for start in range(0, 100_000, 1000):
                if not start:
                    zk.create("/many")
                multi = Multi()
                for number in range(start, start + 1000):
                    multi.create(f"/many/n-{number:06}")
                zk.multi(multi)
            for name in HOSTILE:
                zk.create(f"/{name}", f"{name}\x1b[31m".encode())
            zk.create("/long-" + "x" * 300, b"y" * 5000)
            zk.create("/json", b'{"a": {"b": "<script>alert(2)</script>"}}')
            zk.create("/z", b"")
        yield running


def rows(tab: Any) -> list[str]:
    found: list[str] = tab.locator("#rows .row bdi").all_inner_texts()
    return found


def test_a_long_list_has_few_rows_and_the_right_count(
    tab: Any, serve: Serve, server: EmbeddedServer
) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?root=/many&path=/many")
    tab.get_by_text("100,000 children").wait_for()
    tab.get_by_text("n-000000", exact=True).wait_for()
    assert len(rows(tab)) < 60
    tab.locator("#tree").focus()
    tab.keyboard.press("End")
    tab.get_by_text("n-099999", exact=True).wait_for()
    assert len(rows(tab)) < 60
    tab.locator("#tree").evaluate("tree => { tree.scrollTop = tree.scrollHeight / 2; }")
    tab.get_by_text("n-050000", exact=True).wait_for()


def test_the_filter_searches_all_names(tab: Any, serve: Serve, server: EmbeddedServer) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?root=/many&path=/many")
    tab.get_by_label("Filter").fill("N-09999")  # also while the list is loading
    tab.get_by_text("10 found").wait_for()
    tab.get_by_text("n-099995", exact=True).wait_for()
    tab.wait_for_url("**filter=N-09999*")
    tab.reload()
    tab.get_by_text("10 found").wait_for()


def test_everything_works_by_keyboard(tab: Any, serve: Serve, server: EmbeddedServer) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree")
    tab.get_by_text("many", exact=True).wait_for()
    tab.locator("#tree").focus()
    names = rows(tab)
    for _ in range(names.index("many")):
        tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    tab.get_by_text("n-000000", exact=True).wait_for()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="/many/n-000001").wait_for()
    assert "path=%2Fmany%2Fn-000001" in tab.url
    assert tab.locator("[aria-selected=true]").inner_text().endswith("n-000001")
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")
    tab.get_by_text("n-000000", exact=True).wait_for(state="detached")
    tab.go_back()
    tab.get_by_role("heading", name="/", exact=True).wait_for()


def test_a_url_shows_its_place_in_the_tree(tab: Any, serve: Serve, server: EmbeddedServer) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/many/n-077777")
    tab.locator("[aria-selected=true]").get_by_text("n-077777").wait_for()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_data_are_only_text(
    tab: Any, serve: Serve, server: EmbeddedServer, name: str
) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree")
    tab.locator("#rows .row bdi").get_by_text(name, exact=True).click()
    tab.get_by_role("heading", name=f"/{name}", exact=True).wait_for()
    assert tab.locator("img").count() == 0
    assert "1b" in tab.locator(".hex").inner_text()


def test_nothing_is_wider_than_a_small_screen(
    tab: Any, serve: Serve, server: EmbeddedServer
) -> None:
    url = serve(settings_of(server.hosts))
    tab.set_viewport_size(SMALL)
    pages = ["/", "/login", "/c/local/credentials", "/c/local/tree?path=/json"]
    for page in [*pages, f"/c/local/tree?path=/long-{'x' * 300}", "/c/local/tree?path=/none"]:
        tab.goto(url + page)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_colours_of_the_system(
    tab: Any, serve: Serve, server: EmbeddedServer, scheme: str
) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.goto(serve(settings_of(server.hosts)))
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") is (scheme == "light")


def test_a_conflict_shows_both_values(
    tab: Any, serve: Serve, server: EmbeddedServer, tmp_path: Path
) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    with Client(server.hosts) as zk:
        zk.create("/edited", b"old\n")
        tab.goto(f"{serve(settings)}/c/local/tree?path=/edited")
        tab.get_by_label("Name").fill("ed")
        tab.get_by_label("Password").fill(PASSWORDS["ed"])
        tab.get_by_role("button", name="Log in").click()
        tab.get_by_role("heading", name="/edited").wait_for()
        tab.get_by_text("Edit", exact=True).click()
        tab.get_by_role("button", name="Save in local").click()
        tab.get_by_text("how often the data were set").wait_for()
        assert zk.get("/edited").data == b"old\n"
        tab.get_by_text("Edit", exact=True).click()
        tab.get_by_label("New data").fill("mine")
        zk.set("/edited", b"theirs")
        tab.get_by_role("button", name="Save in local").click()
        tab.get_by_role("heading", name="Conflict").wait_for()
        assert tab.locator("#theirs").inner_text() == "theirs"
        assert tab.locator("#yours").input_value() == "mine"
        assert zk.get("/edited").data == b"theirs"
        tab.get_by_role("button", name="Replace it by yours").click()
        tab.get_by_role("heading", name="/edited").wait_for()
        assert zk.get("/edited").data == b"mine"
        tab.get_by_text("Delete…").click()
        tab.get_by_role("button", name="Delete 1 in local").click()
        tab.get_by_role("heading", name="/", exact=True).wait_for()
        assert zk.exists("/edited") is None
