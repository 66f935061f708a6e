"""Changes in the web page on Apache ZooKeeper: data, lists, subtrees, permissions, the past."""

from pathlib import Path

from tests.support.web import Browser, browsing, settings_of
from tests.support.web_streams import reading, serving
from zoolet.client import ACL, OPEN_ACL, Client, Id, Permission
from zoolet.testing import ApacheServer
from zoolet.web.settings import PastSource

NO_READ = (ACL(int(Permission.ALL & ~Permission.READ), Id("world", "anyone")),)


def test_the_page_follows_apache(apache_jars: Path, tmp_path: Path) -> None:
    with (
        ApacheServer(tmp_path / "server", jars=apache_jars) as server,
        Client(server.hosts) as zk,
        serving(settings_of(server.hosts)) as page,
    ):
        zk.create("/a", b"one")
        with reading(page, "/c/local/live?znode=/a&branch=/a") as stream:
            stream.until("znode")
            zk.set("/a", b"two")
            assert "two" in stream.until("znode")["html"]
        with reading(page, "/c/local/live?branch=/a") as stream:
            stream.until("list")
            zk.create("/a/b")
            assert stream.until("list")["added"] == [[0, "b"]]
        with reading(page, "/c/local/changes/live?path=/a") as stream:
            stream.until("ready")
            stat = zk.set("/a/b", b"new")
            (change,) = stream.until("changes")["changes"]
            assert (change["path"], change["old"]["text"]) == ("/a/b", "")
            assert change["zxid"] in {stat.mzxid, -1}  # servers before 3.9 do not send it
        with reading(page, "/c/local/live?znode=/a") as stream:
            stream.until("znode", error="")
            zk.set_acl("/a", NO_READ)
            refused = stream.until("znode")  # the feed looks again every 10 seconds
            assert "permit" in refused["error"]
            assert refused["html"] is None
            zk.set_acl("/a", OPEN_ACL)


def test_the_past_of_apache(apache_jars: Path, tmp_path: Path) -> None:
    with ApacheServer(tmp_path / "server", jars=apache_jars) as server, Client(server.hosts) as zk:
        first = zk.create("/a", b"one").stat.czxid
        zk.set("/a", b"two")
        zk.create("/b", b"hidden")
        zk.set_acl("/b", NO_READ)
        source = PastSource(str(tmp_path / "server" / "data"), is_archive=False)
        with browsing(settings_of(server.hosts, past={"local": source})) as web:
            _check(web, first)


def _check(web: Browser, first: int) -> None:
    found = web.get("/c/local/history?path=/")
    assert [(change["kind"], change["path"]) for change in found["changes"]] == [
        ("data", "/a"),
        ("created", "/a"),
    ]
    assert found["num_hidden"] == 2
    compared = web.get(f"/c/local/compare?path=/a&from={first:#x}&to=now")
    assert compared["differences"][0]["rows"] == [["one", "two", True]]
