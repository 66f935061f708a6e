"""The page of the busiest clients and paths: numbers, links, hostile paths, missing words."""

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from tests.support.web import JSON, Browser, browsing, settings_of, users_file
from zoolet.client import Client
from zoolet.testing import EmbeddedServer
from zoolet.web.top import looks

HOSTILE = ["<script>alert(1)<script>", '"><img src=x onerror=alert(1)>', "\u202eright", "\x1b[31m"]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "FRESH_S", 0.0)
    monkeypatch.setattr(looks, "COUNTING_S", 0.05)


@pytest.fixture
def busy() -> Iterator[EmbeddedServer]:
    """A server of this test alone: all requests of the first second are looked at."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def web(busy: EmbeddedServer) -> Iterator[Browser]:
    with browsing(settings_of(busy.hosts)) as browser:
        yield browser


def test_the_page_shows_what_clients_request(web: Browser, busy: EmbeddedServer) -> None:
    with Client(busy.hosts) as zk:
        zk.create("/app", b"x")
        for _ in range(20):
            zk.get("/app")
        [found] = web.get("/c/local/top")["servers"]
        assert (found["server"], found["kind"], found["gap"]) == (busy.hosts, "samples", 1)
        assert {row["path"]: row["samples"] for row in found["paths"]}["/app"] == 21
        session = f"{zk.session_id.id:#x}"
        assert session in {row["session"] for row in found["clients"]}
        page = web.html("/c/local/top")
        assert 'href="/c/local/tree?path=%2Fapp"' in page
        assert f'href="/c/local/sessions/{session}"' in page
        assert "all requests are looked at" in page
        assert 'href="/c/local/top"' in page  # in the navigation
        part = web.client.get("/c/local/top", headers={"X-Part": "busiest"}).text
        assert "<html" not in part
        assert "/app" in part


def test_hostile_paths_are_escaped(web: Browser, busy: EmbeddedServer) -> None:
    with Client(busy.hosts) as zk:
        for name in HOSTILE:
            if name.isprintable():
                zk.exists(f"/{name}")
        zk.exists("/" + "y" * 500)
        page = web.html("/c/local/top")
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "/<script>alert(1)<script>" in unescape(page)
    assert f"<bdi>/{'y' * 199}…</bdi>" in page
    assert "%2F" + "y" * 199 not in page  # the znode of a path that was cut is not known


def test_a_cluster_with_a_chroot_shows_only_paths_below_it(busy: EmbeddedServer) -> None:
    with Client(busy.hosts) as zk, browsing(settings_of(f"{busy.hosts}/app")) as web:
        for path in ("/app", "/app/a", "/application", "/secret/b"):
            zk.exists(path)
        [found] = web.get("/c/local/top")["servers"]
        assert {row["path"] for row in found["paths"]} == {"/", "/a"}
        assert {row["path"] for row in found["parents"]} == {"/"}
        assert "secret" not in web.html("/c/local/top")
        assert len(found["operations"]) >= 1


def test_a_missing_word_is_named() -> None:
    settings = {"4lw.commands.whitelist": "srvr"}
    with EmbeddedServer(settings=settings) as server, browsing(settings_of(server.hosts)) as web:
        [found] = web.get("/c/local/top")["servers"]
        assert (found["kind"], found["total"]) == ("nothing", {})
        for word in ("topk", "cons"):
            assert f"does not allow {word}: add it to 4lw.commands.whitelist" in found["note"]
        assert "No numbers" in web.html("/c/local/top")


def test_counters_if_only_topk_is_missing() -> None:
    settings = {"4lw.commands.whitelist": "cons"}
    with (
        EmbeddedServer(settings=settings) as server,
        browsing(settings_of(server.hosts)) as web,
        Client(server.hosts) as zk,
    ):
        zk.exists("/a")
        [found] = web.get("/c/local/top")["servers"]
        assert found["kind"] == "counters"
        page = web.html("/c/local/top")
        assert "with pings" in page
        assert "does not allow topk" in page
        assert "Operations" not in page


def test_a_server_that_stops_and_returns(web: Browser, busy: EmbeddedServer) -> None:
    busy.stop()
    [found] = web.get("/c/local/top")["servers"]
    assert found["note"] == f"{busy.hosts} does not answer: Connection refused"
    assert "does not answer" in web.html("/c/local/top")
    busy.start()
    assert web.get("/c/local/top")["servers"][0]["kind"] == "samples"


def test_only_users_see_the_page(busy: EmbeddedServer, tmp_path: Path) -> None:
    settings = settings_of(busy.hosts, users_file=users_file(tmp_path))
    with browsing(settings) as web:
        web.get("/c/local/top", status=401)
        web.log_in("vi")
        assert web.get("/c/local/top")["servers"]
        web.get("/c/other/top", status=404)
        assert web.client.post("/c/local/top", headers=JSON).status_code == 405


def test_links_have_the_base_path(busy: EmbeddedServer) -> None:
    settings = settings_of(busy.hosts, base_path="/zk")
    with browsing(settings) as web, Client(busy.hosts) as zk:
        zk.exists("/app")
        page = web.html("/zk/c/local/top")
    assert 'data-refresh="/zk/c/local/top"' in page
    assert 'href="/zk/c/local/tree?path=%2Fapp"' in page
