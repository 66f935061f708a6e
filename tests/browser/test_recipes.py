"""Recipes in a real browser: a stuck lock is found and broken, hostile texts, small screens."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from kazoo.client import KazooClient

from tests.browser.conftest import SMALL, Serve, log_in, on_both, wait_for_page
from tests.support.waiting import wait_until
from tests.support.web import settings_of, users_file
from zoolet.client import Client, CreateMode
from zoolet.testing.servers.base import ManagedServer

HEX = "0123456789abcdef" * 2
HOSTILE = ["<img src=x onerror=alert(1)>", "\u202eright to left", "{{7*7}}", "x" * 300]
TERMINAL = b"\x1b[31mred"


def contend(zk: Client, path: str, *texts: str) -> list[str]:
    """Create contenders of a lock of kazoo; return their paths."""
    zk.create(path)
    prefix, mode = f"{path}/{HEX}__lock__", CreateMode.EPHEMERAL_SEQUENTIAL
    return [zk.create(prefix, text.encode(), mode=mode).path for text in texts]


@on_both
def test_a_stuck_lock_is_found_and_broken_by_keyboard(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, tmp_path: Path
) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    stuck, _ = contend(zk, "/stuck", "ann on host-7", "bob")
    tab.goto(f"{serve(settings)}/c/local/recipes")
    log_in(tab)
    tab.get_by_text("1 waits, the first asked").wait_for()
    tab.get_by_role("link", name="/stuck", exact=True).focus()
    tab.keyboard.press("Enter")
    wait_for_page(tab, "Waits: 1")
    assert tab.get_by_role("heading", name="Holds it: 1").count() == 1
    assert tab.get_by_text("ann on host-7").count() == 1
    assert tab.get_by_text(f"{zk.session_id.id:#x}").count() == 2
    tab.get_by_role("heading", name="If it is held for too long").wait_for()
    tab.get_by_role("link", name="Break…").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="Break /stuck in local?").wait_for()
    tab.get_by_text("Risk: the holder's program goes on").wait_for()
    tab.get_by_role("button", name="Delete the holder's znode in local").focus()
    tab.keyboard.press("Enter")
    wait_for_page(tab, "Holds it: 1")
    assert tab.get_by_text("ann on host-7").count() == 0
    assert tab.get_by_text("bob", exact=True).count() == 1
    assert zk.exists(stuck) is None


@on_both
def test_recipes_of_kazoo_and_zoolet_are_recognised(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    """The libraries themselves write the znodes; the page names each kind and who is in it."""
    kazoo = KazooClient(server.hosts)
    kazoo.start()
    try:
        kazoo.Lock("/k/lock", "ann").acquire()
        kazoo.ensure_path("/k/election")
        kazoo.Election("/k/election", "eve").lock.acquire()
        kazoo.Semaphore("/k/semaphore", "bob", max_leases=3).acquire()
        kazoo.Party("/k/party", "zoe").join()
        kazoo.LockingQueue("/k/queue").put(b"item")
        barrier = kazoo.DoubleBarrier("/k/barrier", 1, "dan")
        barrier.enter()
        zk.lock("/z/lock", "lea").acquire()
        zk.party("/z/party", "pia").__enter__()
        with zk.read_lock("/z/read", "rob"):
            url = serve(settings_of(server.hosts))
            tab.goto(f"{url}/c/local/recipes")
            for path, (title, text) in RECIPES.items():
                row = tab.locator(".recipes li", has=tab.get_by_role("link", name=path, exact=True))
                row.get_by_text(title, exact=False).first.wait_for()
                tab.get_by_role("link", name=path, exact=True).click()
                wait_for_page(tab, title)
                tab.locator(".members strong").get_by_text(text, exact=True).wait_for()
                tab.go_back()
    finally:
        kazoo.stop()
        kazoo.close()


RECIPES = {
    "/k/lock": ("Lock or election of kazoo", "ann"),
    "/k/election": ("Lock or election of kazoo", "eve"),
    "/k/semaphore": ("Semaphore of kazoo or zoolet", "bob"),
    "/k/party": ("Party of kazoo or zoolet", "zoe"),
    "/k/queue": ("Locking queue of kazoo or zoolet", "item"),
    "/k/barrier": ("Double barrier of kazoo or zoolet", "dan"),
    "/z/lock": ("Lock or election of zoolet", "lea"),
    "/z/party": ("Party of kazoo or zoolet", "pia"),
    "/z/read": ("Read-write lock of zoolet", "rob"),
}
"""The title of each recipe, and the text of one of its members."""


@on_both
def test_a_lock_that_is_released_meanwhile_is_not_broken(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, tmp_path: Path
) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    first, second = contend(zk, "/fast", "ann", "bob")
    tab.goto(f"{serve(settings)}/c/local/recipes/break?path=/fast&znode={first}")
    log_in(tab)
    tab.get_by_role("heading", name="Break /fast in local?").wait_for()
    zk.delete(first)
    tab.get_by_role("button", name="Delete the holder's znode in local").click()
    tab.get_by_text("Nothing was deleted").wait_for()
    assert zk.exists(second) is not None


@on_both
def test_the_page_shows_the_next_holder_by_itself(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    first, _ = contend(zk, "/live", "ann", "bob")
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/recipes/one?path=/live")
    tab.get_by_role("heading", name="Waits: 1").wait_for()
    zk.delete(first)
    tab.get_by_role("heading", name="Waits: 1").wait_for(state="detached")
    assert tab.locator(".members strong").all_inner_texts() == ["bob"]


def test_the_page_of_a_znode_leads_to_its_recipe(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    contend(zk, "/linked", "ann")
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/linked")
    tab.get_by_role("link", name="Recipe: lock or election of kazoo").click()
    tab.get_by_role("heading", name="Holds it: 1").wait_for()


def test_a_search_of_many_znodes_has_a_page_with_its_result(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    zk.create("/many")
    for number in range(1100):
        zk.create(f"/many/n{number:04}")
    contend(zk, "/many/n1099/lock", "ann")
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/recipes?path=/many")
    tab.get_by_role("button", name="Search up to 20,000 znodes").click()
    tab.get_by_role("heading", name="Search for recipes below /many").wait_for()

    def is_done() -> bool:
        tab.reload()
        return bool(tab.get_by_text("Done", exact=True).count())

    wait_until(is_done, "the end of the search")
    tab.get_by_role("link", name="/many/n1099/lock").click()
    tab.get_by_role("heading", name="Holds it: 1").wait_for()


def test_hostile_texts_are_only_text_and_fit_on_a_small_screen(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    url = serve(settings_of(server.hosts))
    paths = [f"/{text}" for text in HOSTILE]
    for path, text in zip(paths, HOSTILE, strict=True):
        contend(zk, path, text)
    binary = contend(zk, "/binary", "")[0]
    zk.set(binary, TERMINAL + b"\xff" * 900_000)
    tab.set_viewport_size(SMALL)
    tab.goto(f"{url}/c/local/recipes")
    links = tab.locator(".recipes a bdi").all_inner_texts()
    assert sorted(links) == sorted([*paths, "/binary"])
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    for path, text in zip(paths, HOSTILE, strict=True):
        tab.goto(f"{url}/c/local/recipes")
        tab.locator(".recipes a bdi").get_by_text(path, exact=True).click()
        tab.get_by_role("heading", name=path, exact=True).wait_for()
        tab.wait_for_load_state()
        shown = tab.locator(".members strong").inner_text()
        assert shown == (text if len(text) <= 200 else f"{text[:200]}…")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        holder = f"{path}/{zk.children(path).names[0]}"
        tab.goto(f"{url}/c/local/recipes/break?path={quote(path)}&znode={quote(holder)}")
        tab.get_by_role("heading", name=f"Break {path} in local?").wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.goto(f"{url}/c/local/recipes/one?path=/binary")
    assert tab.locator(".members strong").inner_text().startswith("0x1b5b33316d726564ff")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.locator("img").count() == 0


def test_without_javascript_the_page_shows_its_values(
    chromium: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    contend(zk, "/plain", "ann", "bob")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{serve(settings_of(server.hosts))}/c/local/recipes/one?path=/plain")
    assert page.locator(".members strong").all_inner_texts() == ["ann", "bob"]
    context.close()
