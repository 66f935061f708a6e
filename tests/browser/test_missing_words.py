"""Servers that allow only the four-letter word srvr: the pages say which setting is missing."""

from typing import Any

import pytest

from tests.browser.conftest import Serve, plain_on_both, wait_for_page
from tests.support.web import settings_of
from zoolet.client import Client, CreateMode
from zoolet.testing.servers.base import ManagedServer


@plain_on_both
def test_the_pages_name_the_setting_that_is_missing(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoolet.web.servers.sampling.INTERVAL_S", 0.2)
    url = f"{serve(settings_of(server.hosts))}/c/local"
    tab.goto(f"{url}/server")
    tab.locator("#figures").get_by_text("4lw.commands.whitelist=srvr,mntr").wait_for()
    tab.locator("#figures").get_by_text("standalone").wait_for()  # srvr is enough for this
    tab.goto(f"{url}/sessions")
    for word in ("cons", "dump", "wchs"):
        tab.get_by_text(f"4lw.commands.whitelist=srvr,{word}").wait_for()
    tab.goto(f"{url}/sessions/0x1234")
    tab.get_by_text("does not allow dump").wait_for()
    tab.goto(f"{url}/top")
    tab.get_by_text("does not allow cons").first.wait_for()
    with zk.lock("/lock", "ann"):
        tab.goto(f"{url}/recipes/one?path=/lock")
        wait_for_page(tab, "Holds it: 1")
        assert tab.get_by_text("4lw.commands.whitelist=srvr,cons").count() == 1
    # What needs no word works.
    zk.create("/owned", mode=CreateMode.EPHEMERAL)
    tab.goto(f"{url}/tree?path=/owned")
    tab.get_by_role("link", name=f"{zk.session_id.id % (1 << 64):#x}", exact=True).wait_for()
