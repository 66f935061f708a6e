"""The web page on Apache ZooKeeper: the tree, a change, a conflict, a deletion."""

from pathlib import Path

from tests.support.web import browsing, settings_of, users_file
from zoolet.client import Client
from zoolet.testing import ApacheServer


def test_the_page_works_on_apache(apache_jars: Path, tmp_path: Path) -> None:
    with ApacheServer(tmp_path / "server", jars=apache_jars) as server:
        settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
        with Client(server.hosts) as zk, browsing(settings) as web:
            zk.create("/a", b"old")
            web.log_in("ed")
            assert web.get("/c/local/children?path=/")["names"] == ["a", "zookeeper"]
            found = web.get("/c/local/tree?path=/a")
            fields = {
                "path": "/a",
                "version": 0,
                "czxid": found["stat"]["czxid"],
                "view": "text",
                "content": "new",
            }
            assert web.post("/c/local/save", fields) == {"version": 1}
            assert web.post("/c/local/save", fields, 409)["theirs"] == "new"
            made = web.post("/c/local/create", {"parent": "/a", "name": "b"})
            assert made == {"path": "/a/b"}
            asked = web.get("/c/local/delete?path=/a")
            assert asked["count"] == 2
            sent = {"path": "/a", "count": 2, "czxid": asked["czxid"]}
            assert web.post("/c/local/delete", sent) == {"deleted": 2}
            assert zk.exists("/a") is None
