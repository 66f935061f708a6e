"""The page by keyboard alone: every action, a visible focus, and where it is after an action."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import on_both
from tests.browser.quality import check_quality
from tests.browser.test_quality import simple_pages
from tests.support.waiting import wait_until
from tests.support.web import PASSWORDS, settings_of
from zoolet.client import Client
from zoolet.model.acl_texts import format_acl
from zoolet.testing.servers.base import ManagedServer
from zoolet.web.settings import WebSettings

Serve = Callable[[WebSettings], str]

MOST_STOPS = 60
FOCUSED = """() => {
  const found = document.activeElement;
  const style = getComputedStyle(found);
  const box = found.getBoundingClientRect();
  return {
    name: (found.getAttribute("aria-label") || found.innerText || found.name || "").trim(),
    visible: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    size: box.width * box.height,
    body: found === document.body,
  };
}"""


@pytest.fixture(autouse=True)
def znodes(zk: Client) -> None:
    """Create the znodes of each test."""
    zk.create("/app", b'{"a": {"b": 1}}')
    zk.create("/app/one", b"old")


def focused(tab: Any) -> str:
    """Return the name of what has the focus."""
    name: str = tab.evaluate(FOCUSED)["name"]
    return name


def wait_for_focus(tab: Any, name: str) -> None:
    """Wait until the heading of a znode has the focus: the browser gives it after the load."""
    tab.get_by_role("heading", name=name, exact=True).wait_for()
    tab.locator("#name:focus").wait_for()
    assert focused(tab) == name


def tab_to(tab: Any, name: str) -> None:
    """Press Tab until an element with this name has the focus; each stop must be visible."""
    tab.wait_for_load_state("load")
    for _ in range(MOST_STOPS):
        tab.keyboard.press("Tab")
        found = tab.evaluate(FOCUSED)
        if found["body"]:
            continue
        assert found["visible"], found
        assert found["size"] > 0, found
        if found["name"] == name:
            return
    raise AssertionError(f"Tab does not lead to {name!r} on {tab.url}")


def log_in(tab: Any, url: str) -> Any:
    """Log in, and see a znode; return the keyboard."""
    tab.goto(f"{url}/c/local/tree?path=/app/one")
    keys = tab.keyboard
    tab.locator("input[name=name]:focus").wait_for()
    keys.type("ed")
    keys.press("Tab")
    keys.type(PASSWORDS["ed"])
    keys.press("Enter")
    tab.get_by_role("heading", name="/app/one").wait_for()
    return keys


def test_a_wrong_password_a_path_and_the_logout_by_keyboard(tab: Any, editor_url: str) -> None:
    tab.goto(f"{editor_url}/login")
    keys = tab.keyboard
    # The field of the name has the focus; after a wrong password, the error has it.
    tab.locator("input[name=name]:focus").wait_for()
    keys.type("ed")
    keys.press("Tab")
    keys.type("wrong")
    keys.press("Enter")
    tab.locator("[role=alert]:focus").wait_for()
    assert focused(tab) == "The name or the password is wrong."
    keys = log_in(tab, editor_url)
    # Open a path, and fold JSON.
    tab_to(tab, "path")
    keys.press("Control+A")
    keys.type("/app")
    keys.press("Enter")
    tab.wait_for_url("**/tree?path=%2Fapp#name")
    wait_for_focus(tab, "/app")
    tab_to(tab, "{")
    keys.press("Enter")
    is_open = tab.locator(".json details[open]")
    wait_until(lambda: is_open.count() == 1, "the object is folded")
    # Log out.
    tab_to(tab, "Log out")
    keys.press("Enter")
    tab.get_by_role("heading", name="Log in").wait_for()
    tab.locator("input[name=name]:focus").wait_for()


@on_both
def test_data_and_acls_are_edited_by_keyboard(tab: Any, editor_url: str, zk: Client) -> None:
    keys = log_in(tab, editor_url)
    # Edit the data; then the focus is at the heading of the znode.
    tab_to(tab, "Edit")
    keys.press("Enter")
    tab_to(tab, "New data")
    keys.press("Control+A")
    keys.type("new")
    tab_to(tab, "Save in local")
    keys.press("Enter")
    tab.locator("pre[aria-label='Data as text']").get_by_text("new").wait_for()
    wait_for_focus(tab, "/app/one")
    # Set the ACL.
    tab_to(tab, "Edit the ACL")
    keys.press("Space")
    tab_to(tab, "New ACL")
    keys.press("Control+A")
    keys.type("world:anyone:cdrw")
    tab_to(tab, "Set the ACL in local")
    keys.press("Enter")
    tab.locator("pre[aria-label=ACL]").get_by_text("world:anyone:cdrw", exact=True).wait_for()
    wait_for_focus(tab, "/app/one")
    assert zk.get("/app/one").data == b"new"
    assert format_acl(zk.get_acl("/app/one").acl) == "world:anyone:cdrw"


@on_both
def test_znodes_are_created_and_deleted_by_keyboard(tab: Any, editor_url: str, zk: Client) -> None:
    keys = log_in(tab, editor_url)
    # Create a child.
    tab_to(tab, "Create a child")
    keys.press("Enter")
    tab_to(tab, "name")
    keys.type("two")
    tab_to(tab, "Create in local")
    keys.press("Enter")
    tab.get_by_role("heading", name="/app/one/two").wait_for()
    wait_for_focus(tab, "/app/one/two")
    # Create it again: the error has the focus, and the way back is a link.
    tab_to(tab, "one")
    keys.press("Enter")
    tab.get_by_role("heading", name="/app/one", exact=True).wait_for()
    tab_to(tab, "Create a child")
    keys.press("Enter")
    tab_to(tab, "name")
    keys.type("two")
    keys.press("Enter")
    tab.get_by_role("heading", name="Error 409").wait_for()
    tab.locator("[role=alert]:focus").wait_for()
    assert focused(tab).endswith("the znode exists already")
    check_quality(tab)
    tab_to(tab, "Back")
    keys.press("Enter")
    tab.get_by_role("heading", name="/app/one", exact=True).wait_for()
    # Delete the subtree.
    tab_to(tab, "Delete…")
    keys.press("Enter")
    tab.get_by_role("button", name="Delete 2 in local").wait_for()
    tab_to(tab, "Delete 2 in local")
    keys.press("Enter")
    tab.get_by_role("heading", name="/app", exact=True).wait_for()
    wait_for_focus(tab, "/app")
    assert zk.exists("/app/one") is None


@on_both
def test_the_tree_keeps_the_focus_and_skipping_it_loads_nothing(
    tab: Any, serve: Serve, server: ManagedServer
) -> None:
    tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree")
    tab.get_by_text("app", exact=True).wait_for()
    tab.evaluate("window.isSamePage = true")
    tab_to(tab, "Skip to the content")
    tab.keyboard.press("Enter")
    tab_to(tab, "Znodes below /")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="/app", exact=True).wait_for()
    assert focused(tab) == "Znodes below /"
    tab.keyboard.press("ArrowRight")
    tab.get_by_text("one", exact=True).wait_for()
    assert tab.evaluate("window.isSamePage") is True
    check_quality(tab)
    tab.go_back()
    tab.get_by_role("heading", name="/", exact=True).wait_for()


@pytest.mark.parametrize("page", simple_pages(), ids=ascii)
def test_nothing_moves_for_who_asks_for_it(
    tab: Any, serve: Serve, server: ManagedServer, page: str
) -> None:
    tab.emulate_media(reduced_motion="reduce")
    tab.goto(serve(settings_of(server.hosts)) + page)
    moving = tab.evaluate(
        """() => [...document.querySelectorAll("*")].filter((found) => {
          const style = getComputedStyle(found);
          return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
        }).map((found) => found.outerHTML.slice(0, 80))"""
    )
    assert moving == []
