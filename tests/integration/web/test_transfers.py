"""Copies and moves: what they show first, what they write, what they say after an error."""

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until
from tests.support.web import (
    AUDIT,
    JSON,
    Browser,
    audit_lines,
    audit_of,
    browsing,
    clearing,
    settings_of,
    users_file,
)
from tests.support.web_operations import ended, transfer, url_of
from zoolet.client import ACL, Client, CreateMode, Id, Multi, Permission
from zoolet.client.asyncio_client.subtrees import writing
from zoolet.model.acl import OPEN_ACL
from zoolet.testing import EmbeddedServer
from zoolet.web.settings import Cluster, WebSettings

READ_ONLY = (ACL(int(Permission.READ | Permission.ADMIN), Id("world", "anyone")),)
HOSTILE = ["<img src=x onerror=alert(1)>", "\u202eright to left", "{{7*7}}", "a&b=c#d?e%41 +"]


@pytest.fixture(scope="module")
def other_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def other(other_server: EmbeddedServer) -> Iterator[Client]:
    with clearing(other_server) as client:
        yield client


@pytest.fixture
def settings(server: EmbeddedServer, other_server: EmbeddedServer, tmp_path: Path) -> WebSettings:
    found = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    clusters = (
        *found.clusters,
        Cluster("prod", other_server.hosts, "green"),
        Cluster("inner", f"{server.hosts}/a", "blue"),
    )
    return replace(found, clusters=clusters)


@pytest.fixture
def web(settings: WebSettings) -> Iterator[Browser]:
    with browsing(settings) as browser:
        yield browser.log_in("ed")


def subtree(zk: Client, root: str) -> dict[str, tuple[bytes | None, Any]]:
    """Return the data and the ACL of each znode, by its path below the root."""
    return {znode.path[len(root) :]: (znode.data, znode.acl) for znode in zk.read_subtree(root)}


def fill(zk: Client, root: str, count: int) -> None:
    zk.create(root)
    for start in range(0, count, 1000):
        multi = Multi()
        for number in range(start, min(count, start + 1000)):
            multi.create(f"{root}/n{number:05}", b"x")
        zk.multi(multi)


def test_a_copy_on_the_same_cluster(web: Browser, zk: Client) -> None:
    zk.create("/a", b"root")
    zk.create("/a/b", None, acl=READ_ONLY)
    zk.create("/a/e", b"", mode=CreateMode.EPHEMERAL)
    asked = web.get(url_of("transfer", path="/a", target="/c"))
    assert (asked["count"], asked["target_count"], asked["problem"]) == (3, 0, "")
    found = transfer(web, path="/a", target="/c")
    assert (found["state"], found["done"], found["total"]) == ("done", 3, 3)
    assert found["result"] == {"created": 2, "overwritten": 0, "left_out": 1}
    assert subtree(zk, "/c") == {"": (b"root", OPEN_ACL), "/b": (None, READ_ONLY)}
    again = transfer(web, path="/a", target="/d", no_acls="yes", ephemerals="yes")
    assert again["result"]["created"] == 3
    assert {acl for _, acl in subtree(zk, "/d").values()} == {OPEN_ACL}


def test_a_copy_to_another_cluster_shows_its_name_and_colour(
    web: Browser, zk: Client, other: Client
) -> None:
    fill(zk, "/a", 2500)
    html = web.html(url_of("transfer", path="/a", to="prod", target="/b"))
    assert 'class="ask colour-green"' in html
    assert "Copy 2,501 to prod" in html
    found = transfer(web, path="/a", to="prod", target="/b")
    assert found["result"]["created"] == 2501
    assert other.count_descendants("/b") == 2500
    assert zk.count_descendants("/a") == 2500
    moved = transfer(web, path="/a", to="prod", target="/m", kind="move")
    assert (moved["done"], moved["total"], moved["result"]["deleted"]) == (5002, 5002, 2501)
    assert zk.exists("/a") is None
    assert subtree(other, "/m") == subtree(other, "/b")


def test_an_existing_target(web: Browser, zk: Client) -> None:
    for path in ("/a", "/a/x", "/t", "/t/x", "/t/own"):
        zk.create(path, path.encode())
    asked = web.get(url_of("transfer", path="/a", target="/t"))
    assert asked["target_count"] == 3
    assert "exists already" in asked["problem"]
    assert 'name="czxid"' not in web.html(url_of("transfer", path="/a", target="/t"))
    failed = transfer(web, path="/a", target="/t")
    assert failed["state"] == "failed"
    assert "Nothing was written." in failed["error"]
    assert "overwrite" in failed["error"]
    found = transfer(web, path="/a", target="/t", replaces="yes")
    assert found["result"]["overwritten"] == 2
    assert {path: data for path, (data, _) in subtree(zk, "/t").items()} == {
        "": b"/a",
        "/x": b"/a/x",
        "/own": b"/t/own",
    }
    missing = web.get(url_of("transfer", path="/a", target="/none/t"))
    assert "does not exist" in missing["problem"]


@pytest.mark.parametrize("kind", ["copy", "move"])
@pytest.mark.parametrize(
    ("to", "target"), [("local", "/a/b/c"), ("local", "/a"), ("inner", "/b/c"), ("inner", "/c")]
)
def test_a_target_inside_the_source_is_refused(
    web: Browser, zk: Client, kind: str, to: str, target: str
) -> None:
    for path in ("/a", "/a/b", "/a/z"):
        zk.create(path, path.encode())
    before = subtree(zk, "/a")
    found = transfer(web, path="/a", to=to, target=target, kind=kind)
    assert found["state"] == "failed"
    assert "would never end" in found["error"]
    assert subtree(zk, "/a") == before


def test_a_copy_between_chroots_of_a_server(web: Browser, zk: Client) -> None:
    for path in ("/a", "/b", "/b/x"):
        zk.create(path, path.encode())
    assert transfer(web, path="/b", to="inner", target="/b")["result"]["created"] == 2
    assert subtree(zk, "/a/b") == subtree(zk, "/b")


def test_a_missing_permission_in_the_middle(web: Browser, zk: Client, other: Client) -> None:
    fill(zk, "/a", 3000)
    zk.set_acl("/a/n02000", (ACL(int(Permission.ADMIN), Id("world", "anyone")),))
    found = transfer(web, path="/a", to="prod", target="/t")
    assert found["state"] == "failed"
    assert "/a/n02000" in found["error"]
    written = found["result"]["created"]
    assert other.count_descendants("/t") + 1 == written > 0
    assert f"{written:,} znodes were written to /t in prod, and stay there." in found["error"]
    moved = transfer(web, path="/a", to="prod", target="/m", kind="move")
    assert "/a in local is unchanged." in moved["error"]
    assert zk.count_descendants("/a") == 3000
    zk.set_acl("/a/n02000", OPEN_ACL)
    again = transfer(web, path="/a", to="prod", target="/t", replaces="yes")
    assert (again["result"]["created"] + again["result"]["overwritten"]) == 3001


def test_an_ephemeral_ends_a_move_before_anything_is_deleted(web: Browser, zk: Client) -> None:
    zk.create("/a")
    zk.create("/a/e", b"", mode=CreateMode.EPHEMERAL)
    found = transfer(web, path="/a", target="/t", kind="move")
    assert found["state"] == "failed"
    assert "Nothing was moved." in found["error"]
    assert zk.exists("/a/e")
    assert zk.exists("/t") is None


def test_a_source_that_was_created_again_is_asked_again(web: Browser, zk: Client) -> None:
    zk.create("/a")
    czxid = web.get(url_of("transfer", path="/a", target="/t"))["czxid"]
    zk.delete("/a")
    zk.create("/a", b"other")
    sent = {"path": "/a", "target": "/t", "czxid": czxid}
    again = web.post("/c/local/transfer", sent, 409)
    assert "created again" in again["error"]
    assert again["czxid"] != czxid
    assert zk.exists("/t") is None
    web.post("/c/local/transfer", sent | {"path": "/none"}, 404)


@pytest.mark.parametrize(
    "fields",
    [
        {"to": "nowhere"},
        {"kind": "link"},
        {"target": "/a/../b"},
        {"path": "a"},
        {"path": ""},
        {"target": "/zookeeper/x"},
        {"kind": "move", "path": "/"},
        {"kind": "move", "path": "/zookeeper", "target": "/z"},
        {"kind": "move", "replaces": "yes"},
        {"czxid": "x"},
    ],
)
def test_a_wrong_form_is_refused(web: Browser, zk: Client, fields: dict[str, str]) -> None:
    zk.create("/a")
    sent = {"path": "/a", "target": "/t", "czxid": "0", **fields}
    assert web.post("/c/local/transfer", sent, 400)["error"]


@pytest.fixture
def slow_writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Writers wait after their third batch until the event is set."""
    go_on, reply = threading.Event(), writing.AsyncWriter._settle_next

    async def settle(self: Any, block: Any) -> None:
        await reply(self, block)
        if self._done.written > 1500:
            while not go_on.is_set():
                await asyncio.sleep(0.01)

    monkeypatch.setattr(writing.AsyncWriter, "_settle_next", settle)
    yield go_on
    go_on.set()


def begun(web: Browser, **fields: Any) -> dict[str, Any]:
    """Start a transfer, and wait until it has written something."""
    czxid = web.get(url_of("transfer", **fields))["czxid"]
    answer: dict[str, Any] = web.post("/c/local/transfer", {**fields, "czxid": czxid})
    wait_until(lambda: web.get(answer["page"])["done"] > 1500, "it writes")
    return answer


def test_a_cancelled_copy_says_what_is_written(
    web: Browser, zk: Client, other: Client, slow_writes: threading.Event
) -> None:
    fill(zk, "/a", 12000)
    answer = begun(web, path="/a", to="prod", target="/t")
    assert '<progress max="12001"' in web.html(answer["page"])
    assert "Cancel</button>" in web.html(answer["page"])
    web.post(f"/c/local/operations/{answer['id']}/cancel", {})
    slow_writes.set()
    found = ended(web, answer["page"])
    assert found["state"] == "cancelled"
    written = found["result"]["created"]
    assert 1500 < written < 12001
    assert other.count_descendants("/t") + 1 == written
    assert f"{written:,} znodes were written to /t in prod" in found["result"]["what_to_do"]


def test_what_others_change_during_a_move_stays(
    web: Browser, zk: Client, other: Client, slow_writes: threading.Event
) -> None:
    fill(zk, "/a", 12000)
    answer = begun(web, path="/a", to="prod", target="/t", kind="move")
    zk.set("/a/n00001", b"newer")
    zk.create("/a/new", b"new")
    slow_writes.set()
    found = ended(web, answer["page"])
    assert found["state"] == "failed"
    assert "Everything was copied to /t in prod." in found["error"]
    assert zk.get("/a/n00001").data == b"newer"
    assert zk.get("/a/new").data == b"new"
    left, copied = subtree(zk, "/a"), subtree(other, "/t")
    assert left.keys() | copied.keys() >= {f"/n{number:05}" for number in range(12000)}


def test_the_end_of_the_login_and_of_the_page_end_a_copy(
    settings: WebSettings,
    zk: Client,
    other: Client,
    slow_writes: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    fill(zk, "/a", 12000)
    with browsing(settings) as web:
        begun(web.log_in("ed"), path="/a", to="prod", target="/t")
        web.post("/logout", {})
        begun(web.log_in("ed"), path="/a", to="prod", target="/u")
        slow_writes.set()
    found = audit_of(caplog.records)
    records = {record["target"]: record for record in found}
    assert len(found) == len(records) == 2
    for target, record in records.items():
        assert (record["operation"], record["result"]) == ("copy", "CancelledError")
        assert record["created"] == other.count_descendants(target) + 1 < 12001


def test_a_lost_server_is_an_error_with_what_was_written(
    zk: Client, tmp_path: Path, slow_writes: threading.Event
) -> None:
    fill(zk, "/a", 12000)
    with EmbeddedServer() as goal:
        found = settings_of(zk_hosts(zk), users_file=users_file(tmp_path), allows_changes=True)
        clusters = (*found.clusters, Cluster("prod", goal.hosts))
        with browsing(replace(found, clusters=clusters, connect_timeout_ms=500)) as web:
            answer = begun(web.log_in("ed"), path="/a", to="prod", target="/t")
            goal.stop()
            slow_writes.set()
            shown = ended(web, answer["page"])
    assert shown["state"] == "failed"
    assert "were written to /t in prod" in shown["error"]
    assert zk.count_descendants("/a") == 12000


def zk_hosts(zk: Client) -> str:
    return str(zk.address)


def test_each_transfer_is_one_record(
    web: Browser, zk: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    zk.create("/a", b"secret data")
    transfer(web, path="/a", target="/t")
    transfer(web, path="/a", target="/t")
    transfer(web, path="/t", target="/u", kind="move")
    records = audit_of(caplog.records)
    assert [(r["operation"], r["result"], r["created"]) for r in records] == [
        ("copy", "done", 1),
        ("copy", "NodeExistsError", 0),
        ("move", "done", 1),
    ]
    assert {(r["user"], r["cluster"], r["to"]) for r in records} == {("ed", "local", "local")}
    assert all("secret" not in line for line in audit_lines(caplog.records))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_escaped(web: Browser, zk: Client, name: str) -> None:
    zk.create(f"/{name}")
    html = web.html(url_of("transfer", path=f"/{name}", target=f"/{name}2"))
    assert "<img" not in html
    found = transfer(web, path=f"/{name}", target=f"/{name}2")
    assert found["state"] == "done"
    assert zk.exists(f"/{name}2")
    assert "<img" not in web.html(f"/c/local/operations/{found['id']}")


def test_a_viewer_and_a_missing_token(settings: WebSettings, zk: Client) -> None:
    zk.create("/a")
    with browsing(settings) as web:
        web.log_in("vi")
        assert "Only an editor" in web.html(url_of("transfer", path="/a"))
        web.post("/c/local/transfer", {"path": "/a", "target": "/t", "czxid": 0}, 403)
        web.log_in("ed")
        answer = web.client.post("/c/local/transfer", data={"path": "/a"}, headers=JSON)
        assert answer.status_code == 403
    assert zk.exists("/t") is None


@pytest.mark.parametrize("seed", range(3))
def test_random_moves_lose_nothing(web: Browser, zk: Client, other: Client, seed: int) -> None:
    """Each value is at one place or, after an error, at the source or at the target."""
    chance = random.Random(seed)
    values = set()
    zk.create("/s")
    other.create("/s")
    for number in range(60):
        client, parent = chance.choice([(zk, "/s"), (other, "/s")])
        siblings = client.children(parent).names
        if siblings and chance.random() < 0.5:
            parent = f"{parent}/{chance.choice(siblings)}"
        client.create(f"{parent}/k{number}", str(number).encode())
        values.add(str(number).encode())
    places: dict[str, Callable[[], Client]] = {"local": lambda: zk, "prod": lambda: other}
    for number in range(8):
        to = chance.choice(list(places))
        names = sorted(zk.children("/s").names)
        if not names:
            break
        source = f"/s/{chance.choice(names)}"
        taken = sorted(places[to]().children("/s").names)
        target = f"/s/{chance.choice([f'm{number}', *taken])}"
        transfer(web, path=source, to=to, target=target, kind="move")
        found = [znode.data for client in (zk, other) for znode in client.read_subtree("/s")]
        assert sorted(data for data in found if data) == sorted(values)
