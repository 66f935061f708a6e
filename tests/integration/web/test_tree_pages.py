"""The tree and the page of a znode: counts, lists, hostile names and data."""

import gzip
import random
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.support.web import Browser, browsing, settings_of
from zoolet.client import ACL, OPEN_ACL, Client, CreateMode, Id, Multi, Permission
from zoolet.testing import EmbeddedServer, OpCode

HOSTILE = [
    "<script>alert(1)<script>",
    '"><img src=x onerror=alert(1)>',
    "\u202eright to left",
    "a b&c=d#e?f%2e",
    "{{ 7 * 7 }}",
    "'single'",
    "שלום",
]


@pytest.fixture
def web(server: EmbeddedServer) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts)) as browser:
        yield browser


def fill(zk: Client, path: str, names: list[str]) -> None:
    zk.create(path)
    for start in range(0, len(names), 1000):
        multi = Multi()
        for name in names[start : start + 1000]:
            multi.create(f"{path}/{name}")
        zk.multi(multi)


def test_the_list_of_clusters(web: Browser, server: EmbeddedServer) -> None:
    found = web.get("/")
    assert found["list"] == [{"name": "local", "hosts": server.hosts, "colour": "red"}]
    assert 'href="/c/local/tree"' in web.html("/")


def test_a_znode_has_its_stat_data_and_acl(web: Browser, zk: Client) -> None:
    stat = zk.create("/a", b"text").stat
    found = web.get("/c/local/tree?path=/a")
    assert found["stat"] == stat._asdict()
    assert found["data"]["text"] == "text"
    assert found["acl"] == "world:anyone:cdrwa"
    assert found["children"] == {"total": 0, "names": []}
    page = web.html("/c/local/tree?path=/a")
    assert "ago" in page or "now" in page
    assert 'class="colour-red"' in page
    part = web.client.get("/c/local/tree?path=/a", headers={"X-Part": "znode"}).text
    assert "<html" not in part
    assert "<bdi>/a</bdi></h2>" in part


def test_an_ephemeral_shows_its_owner(web: Browser, zk: Client) -> None:
    zk.create("/e", mode=CreateMode.EPHEMERAL)
    assert f"{zk.session_id.id:#x}" in web.html("/c/local/tree?path=/e")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_data_are_escaped(web: Browser, zk: Client, name: str) -> None:
    zk.create(f"/{name}", name.encode())
    url = f"/c/local/tree?path={quote('/' + name)}"
    deletion = url.replace("/tree?", "/delete?")
    for page in (web.html(url), web.html(f"{url}&view=hex"), web.html(deletion)):
        assert "<script>alert" not in page
        assert "<img" not in page
    assert web.get(url)["data"]["text"] == name
    assert name in web.get("/c/local/children?path=/")["names"]


def test_pages_of_a_list_are_in_order_and_complete(web: Browser, zk: Client) -> None:
    names = [f"n-{number:05}" for number in range(25_000)]
    shuffled = names.copy()
    random.Random(1).shuffle(shuffled)
    fill(zk, "/many", shuffled)
    seen: list[str] = []
    found = web.get("/c/local/children?path=/many&count=500")
    listed = found["list"]
    while found["names"]:
        assert (found["total"], found["list"], found["isCurrent"]) == (25_000, listed, True)
        seen += found["names"]
        found = web.get(f"/c/local/children?path=/many&count=500&start={len(seen)}&list={listed}")
    assert seen == names
    filtered = web.get("/c/local/children?path=/many&filter=N-0001")
    assert filtered["total"] == 10
    assert filtered["names"] == names[10:20]
    assert web.get("/c/local/children?path=/many&find=n-00300")["index"] == 300
    assert web.get("/c/local/children?path=/many&find=n-00305&filter=5")["names"][0] == "n-00005"
    assert web.get("/c/local/children?path=/many&find=x")["index"] == -1


def test_a_list_that_is_read_keeps_its_state_until_it_is_asked_for_again(
    web: Browser, zk: Client
) -> None:
    fill(zk, "/l", ["b", "c"])
    first = web.get("/c/local/children?path=/l")
    zk.create("/l/a")
    old = web.get(f"/c/local/children?path=/l&list={first['list']}")
    assert (old["names"], old["isCurrent"]) == (["b", "c"], False)
    new = web.get("/c/local/children?path=/l")
    assert (new["names"], new["isCurrent"]) == (["a", "b", "c"], True)


def test_a_list_is_fetched_once_for_all(server: EmbeddedServer, zk: Client, web: Browser) -> None:
    fill(zk, "/once", ["a"])
    with server.faults.on(OpCode.GET_CHILDREN2, path="/once", times=None).delay(0) as listed:
        for _ in range(5):
            web.get("/c/local/children?path=/once")
        assert listed.count == 1


def test_a_long_list_says_what_other_programs_need(web: Browser, zk: Client) -> None:
    fill(zk, "/long", [f"{number:04}{'x' * 700}" for number in range(1600)])
    found = web.get("/c/local/children?path=/long&count=1")
    assert "-Djute.maxbuffer=2097152" in found["warning"]
    assert web.get("/c/local/children?path=/")["warning"] == ""


def test_without_the_permission_a_path_can_still_be_entered(web: Browser, zk: Client) -> None:
    zk.create("/closed")
    zk.create("/closed/open", b"seen")
    zk.set_acl(
        "/closed",
        (
            ACL(
                int(Permission.CREATE | Permission.ADMIN | Permission.DELETE), Id("world", "anyone")
            ),
        ),
    )
    try:
        assert "permit" in web.get("/c/local/children?path=/closed", 403)["error"]
        found = web.get("/c/local/tree?path=/closed")
        assert found["data"] is None
        assert "permit" in found["data_error"]
        assert web.get("/c/local/tree?path=/closed/open")["data"]["text"] == "seen"
    finally:
        zk.set_acl("/closed", OPEN_ACL)


def test_data_in_each_view(web: Browser, zk: Client) -> None:
    zk.create("/json", gzip.compress(b'{"a": [1.50, "<b>"], "e": {}}'))
    page = web.html("/c/local/tree?path=/json")
    assert "decoded: gzip" in page
    assert "<details open><summary>{</summary>" in page
    assert "1.50" in page
    assert "&lt;b&gt;" in page
    zk.create("/binary", bytes(range(256)) * 4000)
    found = web.get("/c/local/tree?path=/binary&offset=8192")
    assert found["data"]["view"] == "hex"
    assert found["data"]["hex"] == (bytes(range(256)) * 16).hex()
    zk.create("/null", None)
    assert web.get("/c/local/tree?path=/null")["data"]["length"] is None


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/nothing", 404),
        ("/c/other/tree", 404),
        ("/c/local/tree?path=/none", 404),
        ("/c/local/children?path=/none", 404),
        ("/c/local/tree?path=relative", 400),
        ("/c/local/tree?path=/%00", 400),
        ("/c/local/tree?path=/&view=x", 400),
        ("/c/local/children?path=/&count=501", 400),
        ("/c/local/children?path=/&start=-1", 400),
        ("/c/local/delete?path=/none", 404),
    ],
)
def test_errors_are_explained(web: Browser, url: str, status: int) -> None:
    assert web.get(url, status)["error"]


def test_a_cluster_that_does_not_answer() -> None:
    settings = settings_of("127.0.0.1:1", connect_timeout_ms=300)
    with browsing(settings) as web:
        assert "no session" in web.get("/c/local/tree", 503)["error"]
        assert "no session" in web.html("/c/local/tree", 503)


def test_a_server_that_stops_and_returns(web: Browser, server: EmbeddedServer) -> None:
    web.get("/c/local/tree?path=/")
    server.stop()
    server.start()
    answer = web.client.get("/c/local/tree?path=/", headers={"Accept": "application/json"})
    assert answer.status_code in {200, 503}
    assert web.get("/c/local/tree?path=/")["path"] == "/"


def test_an_expired_session_is_replaced(web: Browser, server: EmbeddedServer, zk: Client) -> None:
    zk.create("/x", b"1")
    web.get("/c/local/tree?path=/x")
    with server.faults.on(OpCode.GET_DATA, path="/x").expire() as fault:
        first = web.client.get("/c/local/tree?path=/x")
        fault.wait()
    assert first.status_code in {200, 502, 503}
    assert web.get("/c/local/tree?path=/x")["data"]["text"] == "1"
