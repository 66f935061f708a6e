"""The web page on Apache ZooKeeper: search, copy, move, export, import."""

from dataclasses import replace
from pathlib import Path

from tests.support.web import JSON, browsing, settings_of, users_file
from tests.support.web_operations import ended, run, transfer, url_of
from zoolet.client import Client
from zoolet.testing import ApacheServer, EmbeddedServer
from zoolet.web.settings import Cluster


def test_subtrees_on_apache(apache_jars: Path, tmp_path: Path) -> None:
    with (
        ApacheServer(tmp_path / "server", jars=apache_jars) as server,
        EmbeddedServer() as other_server,
        Client(server.hosts) as zk,
        Client(other_server.hosts) as other,
    ):
        found = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
        clusters = (
            *found.clusters,
            Cluster("zoolet", other_server.hosts),
            Cluster("inner", f"{server.hosts}/a"),
        )
        for path, data in (("/a", b"x"), ("/a/b", b"\xff"), ("/a/b/c", b"a Needle")):
            zk.create(path, data)
        with browsing(replace(found, clusters=clusters)) as web:
            web.log_in("ed")
            searched = run(web, "/c/local/search", {"text": "needle", "path": "/a"})
            assert (searched["done"], searched["total"]) == (3, 3)
            assert [match["path"] for match in searched["result"]["matches"]] == ["/a/b/c"]
            copied = transfer(web, path="/a", target="/t", to="zoolet")
            assert (copied["state"], copied["result"]["created"]) == ("done", 3)
            assert other.get("/t/b").data == b"\xff"
            refused = transfer(web, path="/a", target="/b/x", to="inner")
            assert "would never end" in refused["error"]
            moved = transfer(web, path="/a", target="/m", kind="move")
            assert (moved["state"], moved["result"]["deleted"]) == ("done", 3)
            assert zk.exists("/a") is None
            content = web.client.get(url_of("export", path="/m")).content
            headers = {**JSON, "X-CSRF-Token": web.get("/login")["csrf"]}
            sent = web.client.post(url_of("upload", path="/i"), content=content, headers=headers)
            page = sent.json()["page"]
            assert web.get(page)["count"] == 3
            assert ended(web, web.post(page, {})["page"])["result"]["created"] == 3
            assert zk.get("/i/b/c").data == b"a Needle"
