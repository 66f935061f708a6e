"""The search: what it finds, its limits, its cancellation, and who sees its result."""

import base64
import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cramjam
import pytest

from tests.support.waiting import wait_until
from tests.support.web import Browser, browsing, settings_of, users_file
from tests.support.web_operations import ended, run, url_of
from zoolet.client import ACL, Client, Id, Multi, Permission
from zoolet.model.acl import OPEN_ACL
from zoolet.testing import EmbeddedServer
from zoolet.web.operations import searching

HOSTILE = ["<b>&amp;needle", "\u202eneedle", "{{needle}}", "nee dle\u2028needle"]


@pytest.fixture
def web(server: EmbeddedServer) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts)) as browser:
        yield browser


def paths_of(found: dict[str, Any]) -> list[str]:
    assert found["state"] == "done", found
    return [match["path"] for match in found["result"]["matches"]]


def many(zk: Client, root: str, count: int, data: bytes = b"") -> None:
    zk.create(root)
    for start in range(0, count, 1000):
        multi = Multi()
        for number in range(start, min(count, start + 1000)):
            multi.create(f"{root}/n-{number:06}", data)
        zk.multi(multi)


def test_names_and_data(web: Browser, zk: Client) -> None:
    zk.create("/Needle", b"x")
    zk.create("/Needle/a", b"in a haystack, a NEEDLE is " + b"y" * 100)
    zk.create("/b", b"other")
    zk.create("/null", None)
    found = run(web, "/c/local/search", {"text": "needle"})
    assert paths_of(found) == ["/Needle", "/Needle/a"]
    first, second = found["result"]["matches"]
    assert (first["in_name"], first["snippet"]) == (True, None)
    assert second["snippet"] == "in a haystack, a NEEDLE is " + "y" * 36 + "…"
    assert (found["done"], found["result"]["is_complete"]) == (found["total"], True)
    for fields, expected in (
        ({"in": "names"}, ["/Needle"]),
        ({"in": "data"}, ["/Needle/a"]),
        ({"exact": "yes", "text": "NEEDLE"}, ["/Needle/a"]),
        ({"exact": "yes"}, []),
        ({"path": "/Needle", "in": "data"}, ["/Needle/a"]),
        ({"path": "/b"}, []),
    ):
        assert paths_of(run(web, "/c/local/search", {"text": "needle", **fields})) == expected


@pytest.mark.parametrize(
    "pack",
    [
        lambda text: gzip.compress(text, mtime=0),
        lambda text: bytes(cramjam.zstd.compress(text)),
        lambda text: bytes(cramjam.snappy.compress(text)),
        base64.b64encode,
        lambda text: base64.b64encode(gzip.compress(text)),
        lambda text: b"\xff\x00" + text,
    ],
)
def test_decoded_content(web: Browser, zk: Client, pack: Any) -> None:
    zk.create("/p", pack(b"a line with a needl\xc3\xa9 in it"))
    found = run(web, "/c/local/search", {"text": "NEEDLÉ"})
    assert paths_of(found) == ["/p"]


def test_a_match_far_in_long_content(web: Browser, zk: Client) -> None:
    step = searching._STEP
    for at in (step - 3, step, step + 1, 5 * step - 1):
        zk.create(f"/at-{at}", gzip.compress(b"x" * at + b"needle" + b"y" * 1000))
    assert len(paths_of(run(web, "/c/local/search", {"text": "needle"}))) == 4


@pytest.mark.parametrize("seed", range(3))
def test_a_search_finds_what_a_simple_model_finds(web: Browser, zk: Client, seed: int) -> None:
    chance = random.Random(seed)
    znodes = {"/r": b"ab"}
    for _ in range(300):
        parent = chance.choice(sorted(znodes))
        path = f"{parent}/{''.join(chance.choices('abAB', k=3))}"
        if path.count("/") < 6 and path not in znodes:
            znodes[path] = "".join(chance.choices("abAB", k=5)).encode()
    for path in sorted(znodes):
        zk.create(path, znodes[path])
    for _ in range(5):
        text = "".join(chance.choices("abAB", k=chance.randint(1, 4)))
        place, root = chance.choice(searching.PLACES), chance.choice(sorted(znodes))
        is_exact = chance.random() < 0.5
        fields = {"text": text, "in": place, "path": root, "exact": "yes" if is_exact else ""}

        def has(found: str, text: str = text, is_exact: bool = is_exact) -> bool:
            return text in found if is_exact else text.lower() in found.lower()

        expected = {
            path
            for path, data in znodes.items()
            if f"{path}/".startswith(f"{root}/")
            and (
                (place != "data" and has(path.rpartition("/")[2]))
                or (place != "names" and has(data.decode()))
            )
        }
        assert set(paths_of(run(web, "/c/local/search", fields))) == expected


def test_the_matches_are_bounded_and_paged(web: Browser, zk: Client) -> None:
    many(zk, "/many", 2500, b"needle")
    started = web.post("/c/local/search", {"text": "needle", "in": "data"})
    found = ended(web, started["page"])
    assert len(paths_of(found)) == searching.MOST_MATCHES
    assert found["result"]["is_complete"] is False
    html = web.html(started["page"])
    assert html.count('<li id="match-') == 100
    assert "has found enough" in html
    html = web.html(started["page"] + "&start=900")
    assert 'id="match-1000"' in html
    assert "Previous" in html
    part = web.client.get(started["page"], headers={"X-Part": "operation"}).text
    assert part.lstrip().startswith('<div class="progress"')


def test_long_snippets_are_bounded_too(web: Browser, zk: Client) -> None:
    zk.create("/d")
    for number in range(700):
        zk.create(f"/d/{'needle' * 160}-{number:03}")
    found = run(web, "/c/local/search", {"text": "needle", "in": "names"})
    assert 500 < len(paths_of(found)) < 700
    assert found["result"]["is_complete"] is False


def test_what_the_user_may_not_read_is_counted(web: Browser, zk: Client) -> None:
    closed = (ACL(int(Permission.ALL & ~Permission.READ), Id("world", "anyone")),)
    zk.create("/open", b"needle")
    zk.create("/shut", b"needle", acl=closed)
    zk.create("/shut/needle", b"")
    found = run(web, "/c/local/search", {"text": "needle"})
    assert paths_of(found) == ["/open"]
    assert (found["result"]["refused"], found["result"]["refused_paths"]) == (1, ["/shut"])
    page = web.post("/c/local/search", {"text": "needle"})["page"]
    ended(web, page)
    assert "You may not read 1 znode." in web.html(page)
    zk.set_acl("/shut", OPEN_ACL)


def test_a_search_is_cancelled_and_keeps_what_it_has_found(
    web: Browser, zk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "ZNODES_PER_S", 100)
    many(zk, "/many", 3000)
    started = web.post("/c/local/search", {"text": "n-000001"})
    page = started["page"]
    wait_until(lambda: web.get(page)["operation"]["result"].get("matches"), "a match is shown")
    assert web.get(page)["operation"]["state"] == "running"
    html = web.html(page)
    assert '<progress max="3' in html
    assert "/many/n-000001" in html
    answer = web.post(f"/c/local/operations/{started['id']}/cancel", {})
    assert answer["state"] == "cancelled"
    found = web.get(page)["operation"]
    assert found["done"] < 3000
    assert [match["path"] for match in found["result"]["matches"]] == ["/many/n-000001"]
    web.post(f"/c/local/operations/{started['id']}/cancel", {})


def test_the_url_keeps_the_query(web: Browser, zk: Client) -> None:
    zk.create("/a", b"a b&c")
    page = web.post("/c/local/search", {"text": "b&c", "path": "/a", "exact": "yes"})["page"]
    ended(web, page)
    url = url_of("search", path="/a", text="b&c", exact="yes", **{"in": "both"})
    shown = web.get(url)
    assert (shown["text"], shown["operation"]) == ("b&c", None)
    assert "Press Search" in web.html(url)
    other = page.replace("b%26c", "other")
    assert other != page
    assert web.get(other)["operation"] is None


def test_only_the_visitor_sees_the_search(server: EmbeddedServer, tmp_path: Path) -> None:
    with browsing(settings_of(server.hosts, users_file=users_file(tmp_path))) as web:
        web.log_in("vi")
        started = web.post("/c/local/search", {"text": "x"})
        place = f"/c/local/operations/{started['id']}"
        ended(web, started["page"])
        assert web.get(place)["id"] == started["id"]
        assert "Search for" in web.html(place)
        assert [one["id"] for one in web.get("/c/local/operations")["operations"]] == [
            started["id"]
        ]
        assert (
            web.client.post(f"{place}/cancel", headers={"Accept": "application/json"}).status_code
            == 403
        )
        mine = dict(web.client.cookies)
        web.client.cookies.clear()
        web.log_in("ed")
        assert "no operation" in web.get(place, 404)["error"]
        web.post(f"{place}/cancel", {}, 404)
        assert web.get("/c/local/operations")["operations"] == []
        web.client.cookies.clear()
        web.client.cookies.update(mine)
        web.post("/logout", {})
        web.log_in("vi")
        web.get(place, 404)


@pytest.mark.parametrize(
    "fields",
    [{}, {"text": ""}, {"text": "x" * 201}, {"text": "x", "in": "z"}, {"text": "x", "path": "a"}],
)
def test_a_wrong_query_is_refused(web: Browser, fields: dict[str, str]) -> None:
    assert web.post("/c/local/search", fields, 400)["error"]


def test_paths_that_are_too_long_to_keep_are_refused(web: Browser) -> None:
    fields = {"text": "x", "path": "/" + "a" * 200_000}
    assert "too long" in web.post("/c/local/search", fields, 400)["error"]


def test_an_expired_session_ends_the_search_and_the_next_one_works(
    web: Browser, server: EmbeddedServer, zk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(zk, "/many", 3000)
    monkeypatch.setattr(searching, "ZNODES_PER_S", 500)
    page = web.post("/c/local/search", {"text": "n-000001"})["page"]
    wait_until(lambda: web.get(page)["operation"]["result"].get("matches"), "it runs")
    monkeypatch.setattr(searching, "ZNODES_PER_S", 1_000_000)
    for session in server.inside.sessions():
        if session.session_id != zk.session_id.id:
            assert server.expire(session.session_id)
    assert ended(web, page)["state"] in {"failed", "done"}
    wait_until(lambda: web.client.get("/c/local/tree").status_code == 200, "a new session")
    assert paths_of(run(web, "/c/local/search", {"text": "n-000001"})) == ["/many/n-000001"]


def test_a_root_that_is_not_there(web: Browser) -> None:
    found = run(web, "/c/local/search", {"text": "x", "path": "/none"})
    assert (found["state"], "/none" in found["error"]) == ("failed", True)


def test_too_many_searches_at_a_time(
    web: Browser, zk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "ZNODES_PER_S", 1)
    many(zk, "/many", 3000)
    for _ in range(4):
        web.post("/c/local/search", {"text": "none"})
    assert "cancel one" in web.post("/c/local/search", {"text": "none"}, 429)["error"]
    assert web.html("/c/local/operations").count("running") == 4


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_data_are_escaped(web: Browser, zk: Client, name: str) -> None:
    zk.create(f"/{name}", f"<script>alert(1)</script>{name}\x1b[31m".encode())
    page = web.post("/c/local/search", {"text": "needle"})["page"]
    assert paths_of(ended(web, page)) == [f"/{name}"]
    html = web.html(page)
    assert "<script>alert" not in html
    assert "<b>" not in html


def test_a_server_that_stops_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "ZNODES_PER_S", 100)
    with EmbeddedServer() as server:
        with Client(server.hosts) as zk:
            many(zk, "/many", 3000)
        with browsing(settings_of(server.hosts, connect_timeout_ms=500)) as web:
            page = web.post("/c/local/search", {"text": "n-000001"})["page"]
            wait_until(lambda: web.get(page)["operation"]["result"].get("matches"), "it runs")
            monkeypatch.setattr(searching, "ZNODES_PER_S", 1_000_000)
            server.stop()
            found = ended(web, page)
    assert found["state"] == "failed"
    assert found["error"]
