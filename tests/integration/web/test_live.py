"""Streams of changes: what they send, whom they share, and how they end."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.web import JSON, PASSWORDS, settings_of, users_file
from tests.support.web_streams import Page, reading, serving
from zoolet.client import ACL, OPEN_ACL, Client, Id, Permission, Retry
from zoolet.testing import EmbeddedServer, OpCode
from zoolet.web.live import streams


@pytest.fixture
def page(server: EmbeddedServer) -> Iterator[Page]:
    with serving(settings_of(server.hosts)) as running:
        yield running


def test_a_stream_sends_the_znode_and_its_changes(page: Page, zk: Client) -> None:
    zk.create("/a", b"one")
    with reading(page, "/c/local/live?znode=/a") as stream:
        first = stream.until("znode")
        assert first["stat"]["version"] == 0
        assert "one" in first["html"]
        zk.set("/a", b"<script>two")
        news = stream.until("znode")
        assert news["id"] != first["id"]
        assert "&lt;script&gt;two" in news["html"]
        zk.delete("/a")
        assert stream.until("znode")["stat"] is None
        zk.create("/a", b"three")
        assert "three" in stream.until("znode", error="")["html"]


def test_a_stream_sends_the_differences_of_a_list(page: Page, zk: Client) -> None:
    zk.create("/list")
    for name in "bdf":
        zk.create(f"/list/{name}")
    with reading(page, "/c/local/live?branch=/list") as stream:
        first = stream.until("list")
        assert (first["total"], first["before"]) == (3, "")
        zk.create("/list/a")
        news = stream.until("list")
        assert (news["removed"], news["added"]) == ([], [[0, "a"]])
        assert news["before"] == first["id"]
        zk.delete("/list/d")
        news = stream.until("list")
        assert (news["removed"], news["added"], news["total"]) == ([2], [], 3)


def test_a_list_ends_with_its_znode_and_returns(page: Page, zk: Client) -> None:
    zk.create("/list")
    with reading(page, "/c/local/live?branch=/list") as stream:
        stream.until("list")
        zk.delete("/list")
        assert "not exist" in stream.until("list")["error"]
        zk.create("/list")
        assert stream.until("list")["error"] == ""


def test_programs_get_changes_as_json(page: Page, zk: Client) -> None:
    zk.create("/top")
    with httpx2.Client(base_url=page.url, headers=JSON) as client:
        assert client.head("/c/local/live?znode=/top").status_code == 200
        with reading(page, "/c/local/changes/live?path=/top") as stream:
            stream.until("ready")
            first = client.get("/c/local/changes?path=/top").json()
            assert (first["changes"], first["is_ready"], first["is_complete"]) == ([], True, True)
            zk.create("/top/a", b"1")
            stream.until("changes")
        found = client.get(f"/c/local/changes?path=/top&last={first['last']}").json()
        assert [change["path"] for change in found["changes"]] == ["/top/a"]
        assert found["is_complete"]


def test_all_pages_share_a_watch_and_a_fetch(
    page: Page, zk: Client, server: EmbeddedServer
) -> None:
    zk.create("/shared")
    with server.faults.on(OpCode.ADD_WATCH, path="/shared", times=None).delay(0) as watched:
        readers = [reading(page, "/c/local/live?branch=/shared") for _ in range(20)]
        streams = [reader.__enter__() for reader in readers]
        for stream in streams:
            stream.until("list")
        with server.faults.on(OpCode.GET_CHILDREN2, path="/shared", times=None).delay(0) as listed:
            zk.create("/shared/a")
            for stream in streams:
                assert stream.until("list")["added"] == [[0, "a"]]
            assert listed.count == 1
        assert watched.count == 1
        assert len(page.site.live) == 1
        for reader in readers:
            reader.__exit__(None, None, None)


def test_changes_have_their_values(page: Page, zk: Client) -> None:
    zk.create("/top", b"root")
    zk.create("/top/old", b"before")
    with reading(page, "/c/local/changes/live?path=/top") as stream:
        stream.until("ready")
        zk.create("/top/new", b"\xff\x00")
        (created,) = stream.until("changes")["changes"]
        assert (created["kind"], created["path"]) == ("created", "/top/new")
        assert created["new"]["text"] == "ff 00"
        stat = zk.set("/top/old", b"after")
        (changed,) = stream.until("changes")["changes"]
        assert (changed["old"]["text"], changed["new"]["text"]) == ("before", "after")
        assert (changed["version"], changed["zxid"]) == (1, stat.mzxid)
        zk.delete("/top/old")
        (deleted,) = stream.until("changes")["changes"]
        assert (deleted["kind"], deleted["old"]["text"]) == ("deleted", "after")


def test_a_stream_continues_after_its_last_event(page: Page, zk: Client) -> None:
    zk.create("/top")
    url = "/c/local/changes/live?path=/top"
    with reading(page, url) as stream:
        name, _, last = stream.next() or ("", None, "")
        assert name == "begin"
        stream.until("ready")
    with reading(page, url) as other:
        other.until("ready")
        zk.create("/top/a", b"1")
        other.until("changes")
    with reading(page, url, {"Last-Event-ID": last}) as stream:
        assert stream.until("begin")["isComplete"]
        (change,) = stream.until("changes")["changes"]
        assert (change["path"], change["new"]["text"]) == ("/top/a", "1")
    with reading(page, url, {"Last-Event-ID": "other-1"}) as stream:
        assert not stream.until("begin")["isComplete"]


def test_values_are_not_repeated_without_the_permission(page: Page, zk: Client) -> None:
    zk.create("/top")
    url = "/c/local/changes/live?path=/top"
    with reading(page, url) as stream:
        last = (stream.next() or ("", None, ""))[2]
        stream.until("ready")
        zk.create("/top/a", b"secret")
        stream.until("changes")
    zk.set_acl("/top/a", (ACL(int(Permission.ADMIN), Id("world", "anyone")),))
    with reading(page, url, {"Last-Event-ID": last}) as stream:
        (change,) = stream.until("changes")["changes"]
        assert change["new"] is None
    zk.set_acl("/top/a", (ACL(int(Permission.ALL), Id("world", "anyone")),))


def test_a_stop_of_the_page_ends_its_streams(server: EmbeddedServer) -> None:
    page = Page(settings_of(server.hosts, base_path="/zk"))
    try:
        with reading(page, "/c/local/live?branch=/") as stream:
            stream.until("list")
            page.stop()
            assert stream.next() is None or stream.next() is None
    finally:
        page.stop()


def test_the_server_stops_and_returns(page: Page, server: EmbeddedServer, zk: Client) -> None:
    zk.create("/x", b"1")
    with reading(page, "/c/local/live?znode=/x") as stream:
        stream.until("znode")
        server.stop()
        assert "lost" in stream.until("problem")["error"]
        server.start()
        stream.until("problem", error="")
        zk.retrying(Retry()).set("/x", b"2")
        assert "2" in stream.until("znode")["html"]


def test_an_expired_session_is_replaced(page: Page, server: EmbeddedServer, zk: Client) -> None:
    zk.create("/x", b"1")
    with (
        reading(page, "/c/local/live?znode=/x") as stream,
        reading(page, "/c/local/changes/live?path=/x") as changes,
    ):
        stream.until("znode")
        changes.until("ready")
        with server.faults.on(OpCode.GET_DATA, path="/x").expire() as fault:
            zk.set("/x", b"2")
            fault.wait()
        assert "2" in stream.until("znode")["html"]
        zk.set("/x", b"3")
        assert "3" in stream.until("znode")["html"]
        while changes.until("changes")["changes"][-1]["kind"] != "data":
            pass


def test_the_permission_is_taken_away(page: Page, zk: Client) -> None:
    zk.create("/x", b"secret")
    with reading(page, "/c/local/live?znode=/x&branch=/x") as stream:
        stream.until("znode")
        zk.set_acl("/x", (ACL(int(Permission.ADMIN), Id("world", "anyone")),))
        refused = [stream.next() for _ in range(3)]  # and the first list
        by_name = {found[0]: found[1] for found in refused if found is not None}
        assert "permit" in by_name["znode"]["error"]
        assert by_name["znode"]["stat"] is None
        assert "permit" in by_name["list"]["error"]
        zk.set_acl("/x", OPEN_ACL)
        assert "secret" in stream.until("znode")["html"]


def test_the_limit_of_watches_is_explained() -> None:
    settings = {"zoolet.maxWatchesPerConnection": 2}  # a persistent watch counts twice
    with (
        EmbeddedServer(settings=settings) as server,
        serving(settings_of(server.hosts)) as page,
        Client(server.hosts) as zk,
    ):
        zk.create("/x", b"1")
        with (
            reading(page, "/c/local/live?znode=/") as first,
            reading(page, "/c/local/live?znode=/x") as second,
        ):
            first.until("znode")
            problem = second.until("problem")
            assert "maxWatchesPerConnection" in problem["error"]


def test_a_logout_ends_the_streams_of_this_login(server: EmbeddedServer, tmp_path: Path) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), base_path="/zk")
    with serving(settings) as page:
        with reading(page, "/c/local/live?branch=/") as refused:
            assert refused.status == 303
        with httpx2.Client(base_url=page.url) as own, httpx2.Client(base_url=page.url) as other:
            cookies = [log_in(client, name) for client, name in ((own, "vi"), (other, "ed"))]
            with (
                reading(page, "/c/local/live?branch=/", cookies[0]) as stream,
                reading(page, "/c/local/live?branch=/", cookies[1]) as stays,
            ):
                stream.until("list")
                stays.until("list")
                csrf = own.get("/login", headers=JSON).json()["csrf"]
                own.post("/logout", data={"csrf": csrf})
                assert stream.until("end")["reason"] == "login"
                assert stream.next() is None
                with Client(server.hosts) as zk:
                    zk.create("/later")
                    assert stays.until("list")["added"]
                    zk.delete("/later")


def log_in(client: httpx2.Client, name: str) -> dict[str, str]:
    csrf = client.get("/login", headers=JSON).json()["csrf"]
    fields = {"csrf": csrf, "name": name, "password": PASSWORDS[name]}
    assert client.post("/login", data=fields, headers=JSON).status_code == 200
    [(cookie, value)] = client.cookies.items()
    return {"Cookie": f"{cookie}={value}"}


def test_too_many_streams_are_refused(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_OF_USER", 2)
    with (
        reading(page, "/c/local/live?branch=/") as first,
        reading(page, "/c/local/live?branch=/") as second,
    ):
        first.until("list")
        second.until("list")
        with reading(page, "/c/local/live?branch=/") as third:
            assert third.status == 503
    branches = "&branch=/a" + "".join(f"&branch=/{number}" for number in range(20))
    with reading(page, f"/c/local/live?{branches}", JSON) as wide:
        assert wide.status == 400


@pytest.mark.parametrize(
    "url",
    [
        "/c/local/live?znode=x",
        "/c/local/live?view=x",
        "/c/local/live?offset=x",
    ],
)
def test_invalid_requests_are_explained(page: Page, url: str) -> None:
    with reading(page, url, JSON) as stream:
        assert stream.status == 400
