"""Search, copy, move, export and import in a real browser."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SMALL, log_in, on_both
from tests.browser.quality import check_layout_shift
from tests.support.waiting import wait_until
from tests.support.web import clearing, restoring, settings_of, users_file
from zoolet.client import ACL, OPEN_ACL, Client, Id, Multi, Permission
from zoolet.testing import ApacheServer, EmbeddedServer
from zoolet.testing.servers.base import ManagedServer
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


def fill(zk: Client) -> None:
    """Create /many, and znodes with hostile names and data."""
    many(zk)
    zk.create("/hostile", bytes(range(256)) * 4000)
    for name in HOSTILE:
        zk.create(f"/hostile/{name}", f"{MARKUP}{name}".encode())


@pytest.fixture(scope="module")
def zoolet_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        with Client(running.hosts) as zk:
            fill(zk)
        yield running


@pytest.fixture(scope="module")
def apache_server(apache_server: ApacheServer) -> Iterator[ApacheServer]:
    with restoring(apache_server):
        with Client(apache_server.hosts) as zk:
            fill(zk)
        yield apache_server


@pytest.fixture
def settings(server: ManagedServer, tmp_path: Path) -> WebSettings:
    found = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    inner = Cluster("prod", f"{server.hosts}/prod", "green")
    return replace(found, clusters=(*found.clusters, inner))


def open_page(tab: Any, url: str) -> None:
    """Open a page as an editor."""
    tab.goto(url)
    log_in(tab)


@on_both
def test_a_search_shows_matches_while_it_runs_and_is_cancelled_by_keyboard(
    tab: Any, serve: Serve, server: ManagedServer, monkeypatch: pytest.MonkeyPatch
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
    bar = tab.locator("progress")
    wait_until(lambda: bar.get_attribute("max") == "5001", "the number of znodes is known")
    cancel = tab.get_by_role("button", name="Cancel")
    cancel.focus()
    tab.keyboard.press("Enter")
    tab.get_by_text("Cancelled", exact=True).wait_for()
    assert tab.get_by_label("Text").input_value() == "n-0000"
    assert tab.get_by_role("link", name="/many/n-000000", exact=True).count() == 1


def test_a_page_of_a_running_search_does_not_shift(
    tab: Any, serve: Serve, server: ManagedServer
) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/search?path=/many")
    tab.get_by_label("Text").fill("n-")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_text("Done", exact=True).wait_for()
    matches = tab.locator(".matches li")
    wait_until(lambda: matches.count() == 100, "all matches of the first part")
    check_layout_shift(tab)
    tab.get_by_role("link", name="Next").click()
    tab.get_by_role("link", name="/many/n-000100", exact=True).wait_for()
    wait_until(lambda: matches.count() == 100, "all matches of the next part")


@on_both
def test_hostile_matches_are_only_text(tab: Any, serve: Serve, server: ManagedServer) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/search?path=/hostile&text=needle")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_text("Done", exact=True).wait_for()
    matches = tab.locator(".matches li")
    wait_until(lambda: matches.count() == len(HOSTILE), "all matches")
    assert tab.locator("img").count() == 0
    assert "<script>alert(2)</script>" in tab.locator(".snippet").first.inner_text()
    tab.get_by_role("link", name=HOSTILE[3]).click()
    tab.get_by_role("heading", name=HOSTILE[3]).wait_for()


@on_both
def test_a_copy_asks_first_and_shows_its_progress(
    tab: Any, serve: Serve, settings: WebSettings, zk: Client
) -> None:
    zk.create("/prod")
    open_page(tab, f"{serve(settings)}/c/local/tree?path=/many")
    tab.get_by_role("link", name="Copy or move…").click()
    tab.get_by_label("To cluster").select_option("prod")
    tab.get_by_label("New path").fill("/copy")
    tab.get_by_role("button", name="Show what it does").click()
    button = tab.get_by_role("button", name="Copy 5,001 to prod")
    button.wait_for()
    tab.wait_for_load_state("load")  # with its styles
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


@on_both
def test_an_export_is_downloaded_and_imported(
    tab: Any, serve: Serve, settings: WebSettings, zk: Client, tmp_path: Path
) -> None:
    open_page(tab, f"{serve(settings)}/c/local/tree?path=/many")
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


@on_both
def test_a_subtree_goes_to_the_other_kind_of_server(
    tab: Any,
    serve: Serve,
    settings: WebSettings,
    server: ManagedServer,
    zk: Client,
    zoolet_server: EmbeddedServer,
    apache_server: ApacheServer,
) -> None:
    target = apache_server if server is zoolet_server else zoolet_server
    read_only = (ACL(int(Permission.READ), Id("world", "anyone")),)
    zk.create("/source", b"\x00\xff")
    zk.create("/source/<b>", MARKUP.encode())
    zk.create("/source/<b>/last", b"", acl=read_only)
    clusters = (*settings.clusters, Cluster("other", target.hosts, "purple"))
    url = serve(replace(settings, clusters=clusters))
    with clearing(target) as other:
        open_page(tab, f"{url}/c/local/tree?path=/source")
        for kind in ("copy", "move"):
            tab.goto(f"{url}/c/local/tree?path=/source")
            tab.get_by_role("link", name="Copy or move…").click()
            tab.get_by_label("What").select_option(kind)
            tab.get_by_label("To cluster").select_option("other")
            tab.get_by_label("New path").fill(f"/{kind}")
            tab.get_by_role("button", name="Show what it does").click()
            tab.locator(".ask.colour-purple").wait_for()
            tab.get_by_role("button", name=f"{kind.capitalize()} 3 to other").click()
            tab.get_by_text("Done", exact=True).wait_for()
            assert other.get(f"/{kind}").data == b"\x00\xff"
            assert other.get(f"/{kind}/<b>").data == MARKUP.encode()
            assert other.get_acl(f"/{kind}/<b>/last").acl == read_only
            assert (zk.exists("/source") is None) is (kind == "move")


@on_both
def test_an_export_that_fails_is_a_failed_download(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    zk.create("/half")
    for number in range(40):
        zk.create(f"/half/n{number:02}", b"x" * 100_000)
    zk.set_acl("/half/n39", (ACL(int(Permission.ADMIN), Id("world", "anyone")),))
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/half")
    with tab.expect_download() as download:
        tab.get_by_role("link", name="Export").click()
    assert download.value.failure()
    zk.set_acl("/half/n39", OPEN_ACL)


@on_both
def test_a_lost_server_is_shown(
    tab: Any, serve: Serve, server: ManagedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "ZNODES_PER_S", 400)
    url = serve(settings_of(server.hosts, connect_timeout_ms=500))
    tab.goto(f"{url}/c/local/search?path=/many")
    tab.get_by_label("Text").fill("n-")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_role("link", name="/many/n-000000", exact=True).wait_for()
    server.kill()
    monkeypatch.setattr(searching, "ZNODES_PER_S", 1_000_000)  # so it notices it soon
    tab.get_by_text("Failed", exact=True).wait_for()


def test_without_scripts_the_pages_show_their_values(
    chromium: Any, serve: Serve, settings: WebSettings
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    url = serve(settings)
    open_page(tab, f"{url}/c/local/search?path=/many&text=n-00000")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_text("Found:").wait_for()

    def is_done() -> bool:
        tab.reload()
        return bool(tab.get_by_text("Done", exact=True).count())

    wait_until(is_done, "the end of the search")
    tab.get_by_role("link", name="/many/n-000009", exact=True).wait_for()
    tab.goto(f"{url}/c/local/import?path=/lines")
    assert tab.get_by_role("button", name="Check the lines").is_enabled()
    context.close()


def test_nothing_is_wider_than_a_small_screen(
    tab: Any, serve: Serve, settings: WebSettings
) -> None:
    tab.set_viewport_size(SMALL)
    url = serve(settings)
    long = "/hostile/" + "x" * 300
    open_page(tab, f"{url}/c/local/search?path=/hostile&text=needle")
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
