"""Streams of changes: what they send, whom they share, and how they end."""

from collections.abc import Iterator

import pytest

from tests.support.web import JSON, settings_of
from tests.support.web_streams import Page, reading, serving
from zoolet.client import ACL, Client, Id, Permission, Retry
from zoolet.testing import EmbeddedServer, OpCode


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
