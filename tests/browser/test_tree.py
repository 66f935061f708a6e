"""The tree in a real browser: rows, filter, keys, permissions, hostile names, small screens."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import zoolet.web
from tests.browser.conftest import MIB, SMALL, log_in, on_both, wait_for_page
from tests.support.waiting import wait_until
from tests.support.web import restoring, settings_of, users_file
from zoolet.client import ACL, OPEN_ACL, Client, CreateMode, Id, Multi, Permission
from zoolet.testing import ApacheServer, EmbeddedServer
from zoolet.testing.servers.base import ManagedServer
from zoolet.web.settings import WebSettings

Serve = Callable[[WebSettings], str]
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "\u202eright to left",
    "\u05d0\u05d1\u05d2 \u0645\u0647\u0645\u0629",
    "{{7*7}}",
    "a&b=c#d?e%41",
]
ZOOLET_CHILDREN = 100_000
APACHE_CHILDREN = 25_000
STATIC = Path(zoolet.web.__file__).parent / "static"
SUFFIX = "-" + "x" * 40


def fill(zk: Client, count: int, suffix: str = "") -> None:
    """Create /many with this number of children, and znodes with hostile names and data."""
    zk.create("/many")
    for start in range(0, count, 1000):
        multi = Multi()
        for number in range(start, start + 1000):
            multi.create(f"/many/n-{number:06}{suffix}")
        zk.multi(multi)
    for name in HOSTILE:
        zk.create(f"/{name}", f"{name}\x1b[31m".encode())
    zk.create("/long-" + "x" * 300, b"y" * 5000)
    zk.create("/json", b'{"a": {"b": "<script>alert(2)</script>"}}')
    zk.create("/z", b"")


@pytest.fixture(scope="module")
def zoolet_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(settings={"jute.maxbuffer": 4 * MIB}) as running:
        with Client(running.hosts) as zk:
            fill(zk, ZOOLET_CHILDREN)
        yield running


@pytest.fixture(scope="module")
def apache_server(apache_server: ApacheServer) -> Iterator[ApacheServer]:
    with restoring(apache_server):
        with Client(apache_server.hosts) as zk:
            fill(zk, APACHE_CHILDREN, SUFFIX)
        yield apache_server


def rows(tab: Any) -> list[str]:
    found: list[str] = tab.locator("#rows .row bdi").all_inner_texts()
    return found


def row(tab: Any, text: str) -> Any:
    """Return the row of a znode whose name contains this text."""
    return tab.locator("#rows .row bdi").get_by_text(text)


@on_both
def test_a_long_list_has_few_rows_and_the_right_count(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    count = zk.count_descendants("/many")
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?root=/many&path=/many")
    tab.get_by_text(f"{count:,} children").wait_for()
    row(tab, "n-000000").wait_for()
    assert len(rows(tab)) < 60
    tab.get_by_text("more than the default of jute.maxbuffer").wait_for()
    tab.get_by_text("-Djute.maxbuffer=").wait_for()
    tab.locator("#tree").focus()
    tab.keyboard.press("End")
    row(tab, f"n-{count - 1:06}").wait_for()
    assert len(rows(tab)) < 60
    tab.locator("#tree").evaluate("tree => { tree.scrollTop = tree.scrollHeight / 2; }")
    row(tab, f"n-{count // 2:06}").wait_for()


def test_the_scroll_bar_of_a_list_that_is_too_high_for_a_browser(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    """The scroll bar is scaled, as that of a million children; here the highest element is lower.

    `make bench-web` opens a million children.
    """
    count = zk.count_descendants("/many")
    script = (STATIC / "tree.js").read_text()
    lower = script.replace("const MOST_PX = 8000000;", "const MOST_PX = 80000;")
    assert lower != script
    tab.route(
        "**/static/tree.js",
        lambda route: route.fulfill(content_type="text/javascript", body=lower),
    )
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?root=/many&path=/many")
    row(tab, "n-000000").wait_for()
    tree = tab.locator("#tree")
    assert tree.evaluate("tree => tree.scrollHeight") == 80_000
    tree.evaluate("tree => { tree.scrollTop = tree.scrollHeight; }")
    row(tab, f"n-{count - 1:06}").wait_for()
    tree.focus()
    tab.keyboard.press("ArrowUp")  # the active row is at the other end
    row(tab, "n-000000").wait_for()
    tab.keyboard.press("End")
    tab.keyboard.press("PageUp")
    tab.keyboard.press("PageUp")
    row(tab, f"n-{count - 5:06}").wait_for(state="detached")
    tree.evaluate("tree => { tree.scrollTop = (tree.scrollHeight - tree.clientHeight) / 2; }")
    row(tab, f"n-{count // 2:06}").wait_for()


@on_both
def test_the_filter_searches_all_names(tab: Any, serve: Serve, server: ManagedServer) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?root=/many&path=/many")
    tab.get_by_label("Filter").fill("N-00999")
    tab.get_by_text("10 found").wait_for()
    row(tab, "n-009995").wait_for()
    tab.wait_for_url("**filter=N-00999*")
    tab.reload()
    tab.get_by_text("10 found").wait_for()


@on_both
def test_the_filter_works_while_the_list_is_loading(
    tab: Any, serve: Serve, server: ManagedServer
) -> None:
    held: list[Any] = []

    def hold_the_first(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    tab.route("**/children?**", hold_the_first)
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?root=/many&path=/many")
    wait_until(lambda: bool(tab.title()) and bool(held), "the page asks for the list")
    assert tab.locator("#count").inner_text() == "Loading…"
    tab.get_by_label("Filter").fill("N-00999")
    tab.get_by_text("10 found").wait_for()
    with tab.expect_response(lambda answer: "filter=" not in answer.url):
        held[0].continue_()  # the list without the filter is not shown any more
    row(tab, "n-009995").wait_for()
    assert tab.locator("#count").inner_text() == "10 found"


@on_both
def test_everything_works_by_keyboard(tab: Any, serve: Serve, server: ManagedServer) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree")
    tab.get_by_text("many", exact=True).wait_for()
    tab.locator("#tree").focus()
    names = rows(tab)
    for _ in range(names.index("many")):
        tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    row(tab, "n-000000").wait_for()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="/many/n-000001").wait_for()
    assert "path=%2Fmany%2Fn-000001" in tab.url
    tab.locator("[aria-selected=true]").get_by_text("n-000001").wait_for()
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")
    row(tab, "n-000000").wait_for(state="detached")
    tab.go_back()
    tab.get_by_role("heading", name="/", exact=True).wait_for()


@on_both
def test_a_url_shows_its_place_in_the_tree(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    (name,) = [name for name in zk.children("/many").names if name.startswith("n-017777")]
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/many/{name}")
    tab.locator("[aria-selected=true]").get_by_text(name).wait_for()


@contextmanager
def private_root(zk: Client) -> Iterator[None]:
    """Forbid everybody to read / in the block."""
    zk.set_acl("/", (ACL(int(Permission.ALL & ~Permission.READ), Id("world", "anyone")),))
    try:
        yield
    finally:
        zk.set_acl("/", OPEN_ACL)


@on_both
def test_a_user_who_may_not_read_the_root_enters_a_path(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    zk.create("/open")
    zk.create("/open/child", b"inside")
    with private_root(zk):
        tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree")
        tab.locator("#rows .failed").get_by_text("permi").wait_for()
        tab.locator("#data-error").wait_for()
        tab.get_by_role("textbox", name="Path").fill("/open")
        tab.get_by_role("button", name="Open").click()
        wait_for_page(tab, "/open")
        tab.get_by_role("link", name="Start the tree here").click()
        row(tab, "child").click()
        tab.locator("#data").get_by_text("inside").wait_for()


@on_both
def test_a_znode_shows_its_stat(tab: Any, serve: Serve, server: ManagedServer, zk: Client) -> None:
    zk.create("/owned", b"12345", mode=CreateMode.EPHEMERAL)
    owner = f"{zk.session_id.id % (1 << 64):#x}"
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/owned")
    stat = tab.locator("#stat")
    stat.get_by_role("row", name="Data length 5 bytes").wait_for()
    stat.get_by_role("row", name="Created").get_by_text(re.compile("(ago|now)$")).wait_for()
    stat.get_by_role("link", name=owner, exact=True).click()
    wait_for_page(tab, f"Session {owner} in local")


@on_both
def test_hostile_names_and_data_are_only_text(
    tab: Any, serve: Serve, server: ManagedServer
) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree")
    for name in HOSTILE:
        tab.locator("#rows .row bdi").get_by_text(name, exact=True).click()
        tab.get_by_role("heading", name=f"/{name}", exact=True).wait_for()
        assert tab.locator("img").count() == 0
        assert "1b" in tab.locator(".hex").inner_text()


@on_both
def test_one_mebibyte_of_binary_is_shown_as_hex(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    zk.create("/binary", bytes(range(256)) * (MIB // 256))
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/binary")
    tab.locator("#data").get_by_text("1,048,576 bytes").wait_for()
    digits = tab.get_by_label("Data as hex")
    assert digits.inner_text().startswith("00000000  00 01 02 03")
    tab.get_by_role("link", name="Next bytes").click()
    wait_until(lambda: digits.inner_text().startswith("00001000"), "the next bytes")
    tab.goto(f"{tab.url.partition('?')[0]}?path=/binary&view=hex&offset={MIB - 16}")
    assert "000ffff0  f0 f1 f2" in digits.inner_text()


def test_nothing_is_wider_than_a_small_screen(
    tab: Any, serve: Serve, server: ManagedServer
) -> None:
    url = serve(settings_of(server.hosts))
    tab.set_viewport_size(SMALL)
    pages = ["/", "/login", "/c/local/credentials", "/c/local/tree?path=/json"]
    for page in [*pages, f"/c/local/tree?path=/long-{'x' * 300}", "/c/local/tree?path=/none"]:
        tab.goto(url + page)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_colours_of_the_system(
    tab: Any, serve: Serve, server: ManagedServer, scheme: str
) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.goto(serve(settings_of(server.hosts)))
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") is (scheme == "light")


@on_both
def test_a_conflict_shows_both_values(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, tmp_path: Path
) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    zk.create("/edited", b"old\n")
    tab.goto(f"{serve(settings)}/c/local/tree?path=/edited")
    log_in(tab)
    wait_for_page(tab, "/edited")
    tab.get_by_text("Edit", exact=True).click()
    tab.get_by_role("button", name="Save in local").click()
    tab.wait_for_url("**#name")
    wait_for_page(tab, "/edited")
    assert zk.get("/edited").data == b"old\n"
    tab.get_by_text("Edit", exact=True).click()
    tab.get_by_label("New data").fill("mine")
    zk.set("/edited", b"theirs")
    tab.get_by_role("button", name="Save in local").click()
    wait_for_page(tab, "Conflict in local: /edited")
    assert tab.locator("#theirs").inner_text() == "theirs"
    assert tab.locator("#yours").input_value() == "mine"
    assert zk.get("/edited").data == b"theirs"
    tab.get_by_role("button", name="Replace it by yours").click()
    tab.get_by_role("heading", name="/edited", exact=True).wait_for()
    assert zk.get("/edited").data == b"mine"
    tab.get_by_text("Delete…").click()
    tab.get_by_role("button", name="Delete 1 in local").click()
    tab.get_by_role("heading", name="/", exact=True).wait_for()
    assert zk.exists("/edited") is None
