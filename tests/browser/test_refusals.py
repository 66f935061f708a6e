"""What a browser may not do: each changing route for a viewer, without a token, of another site."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.browser.conftest import Serve, log_in, on_both, wait_for_page
from tests.support.web import routes, settings_of, users_file
from zoolet.client import ACL, Client
from zoolet.jobs import Dispatcher
from zoolet.testing.servers.base import ManagedServer
from zoolet.web.pages.posting import FormRoute

CHANGES = [route for route in routes("POST") if isinstance(route, FormRoute) and route.changes]
FIELDS = {
    "path": "/app",
    "parent": "/app",
    "name": "new",
    "mode": "persistent",
    "version": "0",
    "aversion": "0",
    "view": "text",
    "content": "changed",
    "acl": "world:anyone:r",
    "count": "1",
    "target": "/copy",
    "to": "local",
    "kind": "queue",
    "change": "cancel",
    "jobs": "1",
    "at_ms": "9999999999999",
}
"""Fields with which several of the routes would change something."""

SEND = """async ([urls, fields]) => {
  const found = {};
  for (const url of urls) {
    const answer = await fetch(url, {
      method: "POST", body: new URLSearchParams(fields), headers: { Accept: "application/json" },
    });
    found[url] = [answer.status, (await answer.json()).error || ""];
  }
  return found;
}"""

State = dict[str, tuple[bytes | None, object, tuple[ACL, ...]]]


def state_of(zk: Client) -> State:
    """Return the data, the Stat and the ACL of all znodes that the page could change."""
    found: State = {}
    left = ["/app", "/jobs", "/zookeeper/quota"]
    while left:
        path = left.pop()
        left += [f"{path}/{name}" for name in zk.children(path).names]
        read = zk.get(path)
        found[path] = (read.data, read.stat, tuple(zk.get_acl(path).acl))
    return found


@on_both
def test_every_changing_route_is_refused_for_a_viewer_and_without_a_token(
    tab: Any, editor_url: str, zk: Client, dispatcher: Dispatcher
) -> None:
    zk.create("/app", b"old")
    stat = zk.exists("/app")
    assert stat is not None
    [job] = dispatcher.submit("m:f").names
    values = {"cluster": "local", "queue": "flights", "job": quote(job, safe="")}
    urls = [filled(route.path, values) for route in CHANGES]
    fields = FIELDS | {"czxid": str(stat.czxid)}
    before = state_of(zk)

    def send(name: str, more: dict[str, str]) -> set[tuple[int, str]]:
        """Send all forms as a user, from a page of the user's browser; return the answers."""
        tab.context.clear_cookies()
        tab.goto(f"{editor_url}/login")
        log_in(tab, name)
        tab.get_by_text(f"User {name}").wait_for()
        token = tab.locator("input[name=csrf]").first.input_value()
        sent = fields | {key: value.format(token=token) for key, value in more.items()}
        found = tab.evaluate(SEND, [urls, sent])
        assert len(found) == len(CHANGES) > 10
        return {(status, error) for status, error in found.values()}

    refused = (403, "only an editor may change something: ask for the role editor")
    assert send("vi", {"csrf": "{token}"}) == {refused}
    too_old = (403, "the form is too old, or another site has sent it: load the page again")
    for more in ({}, {"csrf": ""}, {"csrf": "0" * 64}):
        assert send("ed", more) == {too_old}
    assert state_of(zk) == before
    # The fields themselves are right: an editor with the token changes something.
    assert (200, "") in send("ed", {"csrf": "{token}"})


def filled(path: str, values: dict[str, str]) -> str:
    """Return the URL of a route; an id that the values lack becomes x."""
    parts = path.split("/")
    return "/".join(
        values.get(part.strip("{}").partition(":")[0], "x") if part.startswith("{") else part
        for part in parts
    )


@on_both
def test_a_form_of_another_site_changes_nothing(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, tmp_path: Path
) -> None:
    """Even with the token: a page on another port of this address gets the cookie, too."""
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    url = serve(settings)
    zk.create("/app", b"old")
    tab.goto(f"{url}/c/local/tree?path=/app")
    log_in(tab)
    wait_for_page(tab, "/app")
    form = tab.locator("form[action$='/save']").evaluate("form => form.outerHTML")
    other = form.replace('action="/', f'action="{url}/')
    page = f"<!DOCTYPE html><title>x</title>{other}"
    tab.route(
        "http://127.0.0.1:9/", lambda route: route.fulfill(content_type="text/html", body=page)
    )
    tab.goto("http://127.0.0.1:9/")
    tab.locator("textarea").fill("evil")
    tab.get_by_role("button", name="Save in local").click()
    wait_for_page(tab, "Error 403")
    tab.get_by_text("another site has sent it").wait_for()
    assert zk.get("/app").data == b"old"
