"""A lock and a leader latch of Curator in a real browser. Java's library itself writes them."""

from pathlib import Path
from typing import Any

from tests.browser.conftest import Serve, on_both, wait_for_page
from tests.support.java_gateway import java, require_gateway
from tests.support.waiting import wait_until
from tests.support.web import settings_of
from zoolet.testing.servers.base import ManagedServer


@on_both
def test_recipes_of_curator_are_recognised(
    tab: Any, serve: Serve, server: ManagedServer, apache_jars: Path
) -> None:
    require_gateway(apache_jars)
    with java(apache_jars, []) as classes:
        curator = classes.org.apache.curator
        retry = curator.retry.RetryOneTime(1000)
        client = curator.framework.CuratorFrameworkFactory.newClient(server.hosts, retry)
        client.start()
        recipes = curator.framework.recipes
        mutex = recipes.locks.InterProcessMutex(client, "/c/mutex")
        mutex.acquire()
        latch = recipes.leader.LeaderLatch(client, "/c/latch", "first leader")
        latch.start()
        wait_until(latch.hasLeadership, "the leader")
        tab.goto(f"{serve(settings_of(server.hosts))}/c/local/recipes?path=/c")
        tab.get_by_role("link", name="/c/mutex", exact=True).click()
        wait_for_page(tab, "Lock or election of Curator")
        assert tab.locator(".members strong").count() == 1
        tab.go_back()
        tab.get_by_role("link", name="/c/latch", exact=True).click()
        wait_for_page(tab, "Leader latch of Curator")
        tab.locator(".members strong").get_by_text("first leader", exact=True).wait_for()
        latch.close()
        client.close()
