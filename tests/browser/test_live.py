"""Changes as they happen, in a real browser: rows, values, edits, hostile names, a stopped page."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SMALL, Serve, log_in, on_both
from tests.support.waiting import wait_until
from tests.support.web import settings_of, users_file
from zoolet.client import Client, Multi
from zoolet.testing import EmbeddedServer
from zoolet.testing.servers.base import ManagedServer
from zoolet.web.settings import PastSource

HOSTILE = ["<img src=x onerror=alert(1)>", "\u202eright to left", "{{7*7}}", "a&b=c#d?e%41"]


def rows(tab: Any) -> list[str]:
    found: list[str] = tab.locator("#rows .row bdi").all_inner_texts()
    return found


def all_rows(tab: Any) -> list[str]:
    """Return the names of the visible rows, when none of them is loading any more."""
    waiting = tab.locator("#rows .waiting")
    wait_until(lambda: waiting.count() == 0, "all visible rows")
    return rows(tab)


def fill(zk: Client, path: str, count: int) -> None:
    zk.create(path)
    for start in range(0, count, 1000):
        multi = Multi()
        for number in range(start, min(count, start + 1000)):
            multi.create(f"{path}/n-{number:06}")
        zk.multi(multi)


@on_both
def test_names_appear_and_disappear(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    fill(zk, "/few", 3)
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?root=/few&path=/few")
    tab.get_by_text("n-000002", exact=True).wait_for()
    for name in HOSTILE:
        zk.create(f"/few/{name}")
    tab.get_by_text("7 children").wait_for()
    zk.delete("/few/n-000001")
    tab.get_by_text("6 children").wait_for()
    assert sorted(rows(tab)) == sorted([*HOSTILE, "n-000000", "n-000002"])
    assert tab.locator("img").count() == 0


@on_both
def test_visible_rows_stay_where_they_are(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    fill(zk, "/some", 5000)
    zk.create("/some/n-002500/child")
    tab.goto(
        f"{serve(settings_of(server.hosts))}/c/local/tree?root=/some&path=/some/n-002500/child"
    )
    tab.locator("[aria-selected=true]").get_by_text("child").wait_for()
    before = all_rows(tab)
    assert "child" in before
    multi = Multi()
    for number in range(300):
        multi.create(f"/some/a-{number:03}")
    zk.multi(multi)
    tab.get_by_text("5,300 children").wait_for()
    assert all_rows(tab) == before
    multi = Multi()
    for number in range(300):
        multi.delete(f"/some/a-{number:03}")
    for number in range(1000):
        multi.create(f"/some/b-{number:03}")
    zk.multi(multi)
    tab.get_by_text("6,000 children").wait_for()
    assert all_rows(tab) == before


@on_both
def test_a_long_list_is_loaded_when_the_user_wants_it(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    fill(zk, "/long", 21_000)
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?root=/long&path=/long")
    tab.get_by_text("21,000 children").wait_for()
    zk.create("/long/a")
    tab.get_by_text("/long has 21,001 children now.").wait_for()
    assert "a" not in rows(tab)
    tab.get_by_role("button", name="Update").click()
    tab.get_by_text("21,001 children", exact=True).wait_for()
    tab.get_by_text("a", exact=True).wait_for()


@on_both
def test_new_data_are_shown(tab: Any, serve: Serve, server: ManagedServer, zk: Client) -> None:
    zk.create("/value", b"old")
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/value")
    tab.locator("#data").get_by_text("old").wait_for()
    zk.set("/value", b"<b>new</b>")
    tab.locator("#data").get_by_text("<b>new</b>").wait_for()
    assert tab.locator("#stat tr").nth(2).locator("td").first.inner_text() == "1"
    zk.set("/value", b"x" * 100_000)
    tab.get_by_text("The data has changed.").wait_for()
    tab.get_by_role("button", name="Show").click()
    tab.locator("#data").get_by_text("100,000 bytes").wait_for()
    zk.delete("/value")
    tab.get_by_text("This znode does not exist any more.").wait_for()
    zk.create("/value", b"back")
    tab.locator("#data").get_by_text("back").wait_for()


@on_both
def test_an_edit_is_never_lost(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, tmp_path: Path
) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    zk.create("/edited", b"old")
    tab.goto(f"{serve(settings)}/c/local/tree?path=/edited")
    log_in(tab)
    tab.get_by_text("Edit", exact=True).click()
    tab.get_by_label("New data").fill("mine")
    zk.set("/edited", b"theirs")
    tab.locator("#data").get_by_text("theirs").wait_for()
    tab.get_by_text("has changed since you opened the form").wait_for()
    assert tab.get_by_label("New data").input_value() == "mine"
    tab.get_by_role("button", name="Save in local").click()
    tab.get_by_role("heading", name="Conflict").wait_for()
    tab.go_back()
    tab.get_by_text("Edit", exact=True).wait_for()
    zk.set("/edited", b"newest")
    tab.locator("#data").get_by_text("newest").wait_for()
    tab.reload()
    zk.set("/edited", b"very new")
    tab.locator("#data").get_by_text("very new").wait_for()
    tab.get_by_text("Edit", exact=True).click()
    edit = tab.get_by_label("New data")
    wait_until(lambda: edit.input_value() == "very new", "the form has the newest data")


@on_both
def test_changes_are_listed(tab: Any, serve: Serve, server: ManagedServer, zk: Client) -> None:
    zk.create("/top")
    tab.set_viewport_size(SMALL)
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/changes?path=/top")
    tab.get_by_text("Following since").wait_for()
    for number, name in enumerate(HOSTILE, 1):
        zk.create(f"/top/{name}", f"{name}\x1b[31m".encode())
        zk.set(f"/top/{name}", name.encode())
        zk.set("/top", b"y" * 5000 + b"long" * 100)
        zk.delete(f"/top/{name}")
        deleted = tab.locator("#list .kind").get_by_text("Deleted", exact=True)
        deleted.nth(number - 1).wait_for()
        assert name in tab.locator("#list").inner_text()
    assert tab.locator("img").count() == 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


@on_both
def test_a_page_continues_when_the_server_returns(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    zk.create("/kept", b"1")
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?path=/kept")
    tab.locator("#data").get_by_text("1", exact=True).wait_for()
    zk.set("/kept", b"2")
    tab.locator("#data").get_by_text("2", exact=True).wait_for()
    server.kill()
    tab.get_by_text("The connection to ZooKeeper is lost").wait_for()
    server.start()
    tab.get_by_text("The connection to ZooKeeper is lost").wait_for(state="detached")
    with Client(server.hosts) as other:
        other.set("/kept", b"3")
    tab.locator("#data").get_by_text("3", exact=True).wait_for()


def test_the_page_says_that_the_user_is_logged_out(
    tab: Any, serve: Serve, server: ManagedServer, tmp_path: Path
) -> None:
    url = serve(settings_of(server.hosts, users_file=users_file(tmp_path), base_path="/zk"))
    tab.goto(f"{url}/c/local/tree")
    log_in(tab, "vi")
    tab.get_by_text("zookeeper", exact=True).wait_for()
    resources = "performance.getEntriesByType('resource').length"
    wait_until(lambda: tab.evaluate(resources) > 0, "the page has loaded a resource")
    other = tab.context.new_page()
    other.goto(url)
    other.get_by_role("button", name="Log out").click()
    tab.get_by_text("You are logged out").wait_for()


@pytest.mark.parametrize("name", HOSTILE)
def test_the_past_fits_a_small_screen_and_is_only_text(
    tab: Any, serve: Serve, tmp_path: Path, name: str
) -> None:
    with EmbeddedServer(tmp_path) as stored, Client(stored.hosts) as zk:
        first = zk.create("/top").stat.czxid
        zk.create(f"/top/{name}", name.encode() * 100)
        zk.set(f"/top/{name}", b"x" * 3000)
        past = {"local": PastSource(str(tmp_path / "data"), is_archive=False)}
        url = serve(settings_of(stored.hosts, past=past))
        tab.set_viewport_size(SMALL)
        for page in ("history?path=/top", f"compare?path=/top&from={first:#x}&to=now"):
            tab.goto(f"{url}/c/local/{page}")
            tab.get_by_text(f"/top/{name}", exact=True).first.wait_for()
            assert tab.locator("img").count() == 0
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360, page


def test_rows_move_little_while_names_come_and_go(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client
) -> None:
    fill(zk, "/moving", 300)
    zk.set("/moving", b"1")
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree?root=/moving&path=/moving")
    tab.get_by_text("300 children").wait_for()
    tab.evaluate(
        """() => { window.shift = 0; new PerformanceObserver((list) => {
        for (const one of list.getEntries()) window.shift += one.value;
        }).observe({ type: "layout-shift", buffered: true }); }"""
    )
    for number in range(5):
        zk.set("/moving", str(number).encode())
        zk.create(f"/moving/z-{number}")
    tab.get_by_text("305 children").wait_for()
    tab.locator("#data").get_by_text("4", exact=True).wait_for()
    assert tab.evaluate("window.shift") < 0.1


SHIFTS = """(seed) => {
  const random = (most) => { seed = (seed * 48271) % 2147483647; return seed % most; };
  const unique = (names) => [...new Set(names)].sort();
  for (let turn = 0; turn < 300; turn++) {
    const name = () => "n" + (1000 + random(900));
    const names = (count) => unique(Array.from({ length: count }, name));
    const before = names(1 + random(700));
    const gone = new Set(before.filter(() => random(10) === 0));
    const after = unique([...before.filter((name) => !gone.has(name)), ...names(random(60))]);
    const removed = before.flatMap((name, at) => after.includes(name) ? [] : [at]);
    const added = after.flatMap((name, at) => before.includes(name) ? [] : [[at, name]]);
    const rows = new Rows("", "/", () => {}, (action) => action());
    const branch = rows.root;
    Object.assign(branch, { list: "1", size: before.length });
    for (let at = 0; at < before.length; at += PAGE_ROWS) {
      if (random(3)) branch.pages.set(at / PAGE_ROWS, before.slice(at, at + PAGE_ROWS));
    }
    const open = random(before.length);
    if (branch.nameAt(open)) branch.open.set(open, new Branch("/" + before[open], 2, branch, open));
    const wasOpen = branch.open.size && after.includes(before[open]) ? before[open] : null;
    rows.apply({ path: "/", before: "1", id: "2", total: after.length, removed, added, error: "" });
    for (let at = 0; at < after.length; at++) {
      const name = branch.nameAt(at);
      if (name !== undefined && name !== after[at]) return `turn ${turn}: ${name} at ${at}`;
    }
    if (added.some(([at, name]) => branch.nameAt(at) !== name)) return `turn ${turn}: none added`;
    const [child] = branch.open.values();
    if ((child ? after[child.index] : null) !== wasOpen) return `turn ${turn}: ${wasOpen} closed`;
    if (branch.size !== after.length) return `turn ${turn}: size`;
  }
  return "";
}"""


def test_random_differences_move_rows_to_their_places(
    tab: Any, serve: Serve, server: ManagedServer
) -> None:
    seed = random.randrange(1, 1 << 30)
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree")
    assert tab.evaluate(SHIFTS, seed) == "", f"seed {seed}"
