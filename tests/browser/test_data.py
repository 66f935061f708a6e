"""Search, copy, move, export and import in a real browser."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SMALL
from tests.support.waiting import wait_until
from tests.support.web import PASSWORDS, settings_of, users_file
from zoolet.client import ACL, Client, Id, Multi, Permission
from zoolet.testing import EmbeddedServer
from zoolet.web.operations import searching
from zoolet.web.settings import Cluster, WebSettings

Serve = Callable[[WebSettings], str]
HOSTILE = [
    "<img src=x onerror=alert(1)>needle",
    "\u202eneedle",
    "{{7*7}}needle",
    "a&b=c#d?needle%41",
]
MARKUP = "<script>alert(2)</script>needle\x1b[31m"


def many(zk: Client) -> None:
    """Create /many with 5,000 children."""
    zk.create("/many")
    for start in range(0, 5000, 1000):
        multi = Multi()
        for number in range(start, start + 1000):
            multi.create(f"/many/n-{number:06}", b"x")
        zk.multi(multi)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        with Client(running.hosts) as zk:
            many(zk)
            zk.create("/hostile", bytes(range(256)) * 4000)
            for name in HOSTILE:
                zk.create(f"/hostile/{name}", f"{MARKUP}{name}".encode())
        yield running


@pytest.fixture
def settings(server: EmbeddedServer, tmp_path: Path) -> WebSettings:
    found = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    inner = Cluster("prod", f"{server.hosts}/prod", "green")
    return replace(found, clusters=(*found.clusters, inner))


def log_in(tab: Any, url: str, page: str) -> None:
    tab.goto(url + page)
    tab.get_by_label("Name").fill("ed")
    tab.get_by_label("Password").fill(PASSWORDS["ed"])
    tab.get_by_role("button", name="Log in").click()


def shifts(tab: Any) -> float:
    """Return the layout shift of the page without those after a key or a click."""
    total: float = tab.evaluate(
        """() => new Promise((done) => {
             let total = 0;
             new PerformanceObserver((list) => {
               for (const entry of list.getEntries())
                 if (!entry.hadRecentInput) total += entry.value;
             }).observe({ type: "layout-shift", buffered: true });
             requestAnimationFrame(() => setTimeout(() => done(total), 100));
           })"""
    )
    return total


def test_a_search_shows_matches_while_it_runs_and_is_cancelled_by_keyboard(
    tab: Any, serve: Serve, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "ZNODES_PER_S", 400)
    url = serve(settings_of(server.hosts))
    tab.goto(f"{url}/c/local/search?path=/many")
    tab.get_by_label("Text").fill("n-0000")
    tab.keyboard.press("Enter")
    tab.get_by_role("link", name="/many/n-000000", exact=True).wait_for()
    tab.wait_for_url("**text=n-0000&**")
    status = tab.locator(".progress p")
    first = status.inner_text()
    assert "Running" in first
    wait_until(lambda: status.inner_text() != first, "the progress changes")
    assert tab.locator("progress").get_attribute("max") == "5001"
    cancel = tab.get_by_role("button", name="Cancel")
    cancel.focus()
    tab.keyboard.press("Enter")
    tab.get_by_text("Cancelled", exact=True).wait_for()
    assert tab.get_by_label("Text").input_value() == "n-0000"
    assert tab.get_by_role("link", name="/many/n-000000", exact=True).count() == 1


def test_a_page_of_a_running_search_does_not_shift(
    tab: Any, serve: Serve, server: EmbeddedServer
) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/search?path=/many")
    tab.get_by_label("Text").fill("n-")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_text("Done", exact=True).wait_for()
    assert tab.locator(".matches li").count() == 100
    assert shifts(tab) < 0.1
    tab.get_by_role("link", name="Next").click()
    tab.get_by_role("link", name="/many/n-000100", exact=True).wait_for()
    assert tab.locator(".matches li").count() == 100


def test_hostile_matches_are_only_text(tab: Any, serve: Serve, server: EmbeddedServer) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/search?path=/hostile&text=needle")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_text("Done", exact=True).wait_for()
    assert tab.locator(".matches li").count() == len(HOSTILE)
    assert tab.locator("img").count() == 0
    assert "<script>alert(2)</script>" in tab.locator(".snippet").first.inner_text()
    tab.get_by_role("link", name=HOSTILE[3]).click()
    tab.get_by_role("heading", name=HOSTILE[3]).wait_for()


def test_a_copy_asks_first_and_shows_its_progress(
    tab: Any, serve: Serve, settings: WebSettings, server: EmbeddedServer
) -> None:
    with Client(server.hosts) as zk:
        zk.create("/prod")
        log_in(tab, serve(settings), "/c/local/tree?path=/many")
        tab.get_by_role("link", name="Copy or move…").click()
        tab.get_by_label("To cluster").select_option("prod")
        tab.get_by_label("New path").fill("/copy")
        tab.get_by_role("button", name="Show what it does").click()
        button = tab.get_by_role("button", name="Copy 5,001 to prod")
        button.wait_for()
        colour = tab.locator(".ask .cluster").evaluate(
            "element => getComputedStyle(element).backgroundColor"
        )
        assert colour == "rgb(30, 107, 52)"
        assert zk.exists("/prod/copy") is None
        button.focus()
        tab.keyboard.press("Enter")
        tab.get_by_text("Done", exact=True).wait_for()
        assert zk.count_descendants("/prod/copy") == 5000
        tab.get_by_role("link", name="Show the copy").click()
        tab.get_by_role("heading", name="/copy", exact=True).wait_for()
        tab.locator(".cluster", has_text="prod").wait_for()


def test_an_export_is_downloaded_and_imported(
    tab: Any, serve: Serve, settings: WebSettings, server: EmbeddedServer, tmp_path: Path
) -> None:
    with Client(server.hosts) as zk:
        log_in(tab, serve(settings), "/c/local/tree?path=/many")
        with tab.expect_download() as download:
            tab.get_by_role("link", name="Export").click()
        file = tmp_path / "file.jsonl"
        download.value.save_as(file)
        assert len(file.read_text().splitlines()) == 5002
        tab.get_by_role("link", name="Import…").click()
        tab.get_by_label("New path").fill("/imported")
        tab.get_by_role("button", name="Change the path").click()
        tab.get_by_role("heading", name="Import to /imported in local").wait_for()
        tab.get_by_label("File").set_input_files(file)
        tab.get_by_role("button", name="Check the file").click()
        button = tab.get_by_role("button", name="Import 5,001 to local")
        button.wait_for()
        assert zk.exists("/imported") is None
        button.click()
        tab.get_by_text("Done", exact=True).wait_for()
        assert zk.count_descendants("/imported") == 5000
        wrong = tmp_path / "wrong"
        wrong.write_text("no export")
        tab.goto(tab.url.partition("/operations")[0] + "/import?path=/wrong")
        tab.get_by_label("File").set_input_files(wrong)
        tab.get_by_role("button", name="Check the file").click()
        tab.get_by_text("this is not a line of an export").wait_for()
        assert zk.exists("/wrong") is None


def test_an_export_that_fails_is_a_failed_download(
    tab: Any, serve: Serve, server: EmbeddedServer
) -> None:
    with Client(server.hosts) as zk:
        zk.create("/half")
        for number in range(40):
            zk.create(f"/half/n{number:02}", b"x" * 100_000)
        zk.set_acl("/half/n39", (ACL(int(Permission.ADMIN), Id("world", "anyone")),))
        tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/half")
        with tab.expect_download() as download:
            tab.get_by_role("link", name="Export").click()
        assert download.value.failure()


def test_a_lost_server_is_shown(tab: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "ZNODES_PER_S", 400)
    with EmbeddedServer() as server:
        with Client(server.hosts) as zk:
            many(zk)
        url = serve(settings_of(server.hosts, connect_timeout_ms=500))
        tab.goto(f"{url}/c/local/search?path=/many")
        tab.get_by_label("Text").fill("n-")
        tab.get_by_role("button", name="Search").click()
        tab.get_by_role("link", name="/many/n-000000", exact=True).wait_for()
        monkeypatch.setattr(searching, "ZNODES_PER_S", 1_000_000)
        server.stop()
        tab.get_by_text("Failed", exact=True).wait_for()


def test_without_scripts_the_pages_show_their_values(
    chromium: Any, serve: Serve, settings: WebSettings
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    url = serve(settings)
    log_in(tab, url, "/c/local/search?path=/many&text=n-00000")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_text("Found:").wait_for()
    while not tab.get_by_text("Done", exact=True).count():
        tab.reload()
    assert tab.get_by_role("link", name="/many/n-000009", exact=True).count() == 1
    tab.goto(f"{url}/c/local/import?path=/lines")
    assert tab.get_by_role("button", name="Check the lines").is_enabled()
    context.close()


def test_nothing_is_wider_than_a_small_screen(
    tab: Any, serve: Serve, settings: WebSettings
) -> None:
    tab.set_viewport_size(SMALL)
    url = serve(settings)
    long = "/hostile/" + "x" * 300
    log_in(tab, url, "/c/local/search?path=/hostile&text=needle")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_text("Done", exact=True).wait_for()
    pages = [
        tab.url.removeprefix(url),
        "/c/local/operations",
        "/c/local/transfer?path=/hostile&target=/prod/x&to=prod",
        f"/c/local/import?path={long}",
        f"/c/local/search?path={long}&text={'y' * 200}",
    ]
    for page in pages:
        tab.goto(url + page)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, page
