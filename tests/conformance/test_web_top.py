"""The page of the busiest clients on Apache ZooKeeper: its counters, and what it cannot show."""

from pathlib import Path

from tests.support.web import browsing, settings_of
from zoolet.client import Client
from zoolet.testing import ApacheServer


def test_the_page_shows_the_counters_of_apache(apache_jars: Path, tmp_path: Path) -> None:
    whitelist = {"4lw.commands.whitelist": "*"}
    with (
        ApacheServer(tmp_path / "server", jars=apache_jars, settings=whitelist) as server,
        Client(server.hosts) as zk,
        browsing(settings_of(server.hosts)) as web,
    ):
        zk.exists("/a")
        [found] = web.get("/c/local/top")["servers"]
        assert (found["server"], found["kind"]) == (server.hosts, "counters")
        assert "takes no samples of requests: it is Apache ZooKeeper" in found["note"]
        assert "paths" not in found
        page = web.html("/c/local/top")
        assert "with pings" in page
        assert "Addresses of clients" in page
        assert "Operations" not in page
