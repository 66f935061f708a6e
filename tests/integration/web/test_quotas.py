"""The pages of quotas: which is full, what it contains, and its change with conflicts and audit."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.web import AUDIT, Browser, audit_of, browsing, settings_of, users_file
from zoolet.client import Client
from zoolet.testing import EmbeddedServer

QUOTA = "/c/local/quota"


@pytest.fixture
def web(server: EmbeddedServer, tmp_path: Path) -> Iterator[Browser]:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    with browsing(settings) as browser:
        yield browser


def set_limits(web: Browser, path: str, **limits: int) -> None:
    web.post(QUOTA, {"path": path, "version": "", **limits})


def test_the_fullest_quota_comes_first_and_shows_what_it_contains(web: Browser, zk: Client) -> None:
    web.log_in("ed")
    for path in ("/app", "/app/<b>big", "/app/small", "/other"):
        zk.create(path)
    for number in range(7):
        zk.create(f"/app/<b>big/{number}")
    set_limits(web, "/app", count=5, byteHardLimit=1 << 20)
    set_limits(web, "/other", bytes=100)
    listed = web.get("/c/local/quotas")
    assert [(one["path"], one["share"]) for one in listed["quotas"]] == [("/app", 2), ("/other", 0)]
    page = web.html("/c/local/quotas")
    assert page.index("/app") < page.index("/other")
    assert "200%, full" in page
    assert 'value="1"' in page
    found = web.get(f"{QUOTA}?path=/app")
    assert found["quota"]["used"]["count"] == 10
    assert found["children"][0] == {"name": "<b>big", "znodes": 8}
    page = web.html(f"{QUOTA}?path=/app")
    assert "&lt;b&gt;big" in page
    assert "<b>big" not in page
    assert "Set the quota in local" in page
    part = web.client.get("/c/local/quotas", headers={"X-Part": "quotas"}).text
    assert "<!DOCTYPE" not in part


def test_a_quota_is_set_changed_and_removed(
    web: Browser, zk: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    zk.create("/app")
    zk.create("/app/sub")
    web.log_in("ed")
    set_limits(web, "/app/sub", count=10, countHardLimit=20)
    found = web.get(f"{QUOTA}?path=/app/sub")["quota"]
    assert found["limits"] == {"count": 10, "bytes": -1, "countHardLimit": 20, "byteHardLimit": -1}
    assert found["used"]["count"] == 1
    web.post(QUOTA, {"path": "/app/sub", "version": found["version"], "bytes": 5})
    stale = {"path": "/app/sub", "version": found["version"]}
    assert "Nothing was written" in web.post(QUOTA, {**stale, "bytes": 6}, 409)["error"]
    assert "Nothing was written" in web.post(QUOTA, {**stale, "remove": "yes"}, 409)["error"]
    assert (
        "Nothing was written" in web.post(QUOTA, {**stale, "version": "", "count": 1}, 409)["error"]
    )
    found = web.get(f"{QUOTA}?path=/app/sub")["quota"]
    assert (found["limits"]["bytes"], found["limits"]["count"]) == (5, -1)
    web.post(QUOTA, {**stale, "version": found["version"], "remove": "yes"})
    assert web.get(f"{QUOTA}?path=/app/sub")["quota"] is None
    assert zk.children("/zookeeper/quota").names == ()
    records = audit_of(caplog.records)
    done = [(one["operation"], one["path"], one["result"]) for one in records]
    assert done == [
        ("setQuota", "/app/sub", "done"),
        ("setQuota", "/app/sub", "done"),
        ("setQuota", "/app/sub", "conflict"),
        ("removeQuota", "/app/sub", "conflict"),
        ("setQuota", "/app/sub", "conflict"),
        ("removeQuota", "/app/sub", "done"),
    ]


def test_quotas_are_not_nested(web: Browser, zk: Client) -> None:
    for path in ("/a", "/a/b", "/a/b/c"):
        zk.create(path)
    web.log_in("ed")
    set_limits(web, "/a/b", count=10)
    for path in ("/a", "/a/b/c"):
        refused = web.post(QUOTA, {"path": path, "version": "", "count": 5}, 409)
        assert "/a/b has a quota" in refused["error"]


def test_a_viewer_and_a_form_without_a_token_change_nothing(web: Browser, zk: Client) -> None:
    zk.create("/app")
    web.log_in("vi")
    web.post(QUOTA, {"path": "/app", "version": "", "count": 5}, 403)
    assert "Set the quota" not in web.html(f"{QUOTA}?path=/app")
    web.log_in("ed")
    web.post(QUOTA, {"csrf": "wrong", "path": "/app", "version": "", "count": 5}, 403)
    assert web.get("/c/local/quotas")["total"] == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"path": "/none", "count": 5}, 404),
        ({"path": "/", "count": 5}, 400),
        ({"path": "/zookeeper/quota", "count": 5}, 400),
        ({"path": "/zookeeper"}, 400),
        ({"path": "relative", "count": 5}, 400),
        ({"path": "/app"}, 400),
        ({"path": "/app", "count": 0}, 400),
        ({"path": "/app", "count": "x"}, 400),
        ({"path": "/app", "bytes": -5}, 400),
        ({"path": "/app", "bytes": 1 << 63}, 400),
        ({"path": "/app", "remove": "yes"}, 400),
        ({"path": "/app", "remove": "yes", "version": 0}, 409),
    ],
)
def test_wrong_forms_are_explained(
    web: Browser, zk: Client, fields: dict[str, object], status: int
) -> None:
    zk.create("/app")
    web.log_in("ed")
    assert web.post(QUOTA, {"version": "", **fields}, status)["error"]
    assert web.get("/c/local/quotas")["total"] == 0


def test_data_that_are_not_a_quota(web: Browser, zk: Client) -> None:
    zk.create("/zookeeper/quota/odd")
    zk.create("/zookeeper/quota/odd/zookeeper_limits", b"\xff<script>=;=,count=x")
    zk.create("/zookeeper/quota/odd/zookeeper_stats", None)
    web.log_in("vi")
    (found,) = web.get("/c/local/quotas")["quotas"]
    assert (found["path"], found["share"]) == ("/odd", 0)
    assert "no limits" in web.html("/c/local/quotas")
    assert "no limits" in web.html(f"{QUOTA}?path=/odd")


def test_a_chroot_hides_the_quotas(server: EmbeddedServer, zk: Client) -> None:
    zk.create("/app")
    with browsing(settings_of(f"{server.hosts}/app")) as web:
        assert "chroot /app" in web.get("/c/local/quotas", 400)["error"]
