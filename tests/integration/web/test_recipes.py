"""Recipes that kazoo and zoolet's client have made: the search, one recipe, breaking a lock."""

import contextlib
import datetime as dt
import logging
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from kazoo.client import KazooClient

from tests.support.waiting import wait_until
from tests.support.web import AUDIT, Browser, audit_of, browsing, settings_of, users_file
from zoolet.client import ACL, OPEN_ACL, Client, CreateMode, Id, Multi, Permission
from zoolet.testing import EmbeddedServer, OpCode

HOSTILE = ["<script>alert(1)<script>", "\u202eright to left", "\x1b[31mred", "{{ 7777 * 7777 }}"]
HEX = "0123456789abcdef" * 2


@pytest.fixture
def web(server: EmbeddedServer) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts)) as browser:
        yield browser


@pytest.fixture
def kazoo(server: EmbeddedServer) -> Iterator[KazooClient]:
    client = KazooClient(server.hosts)
    client.start()
    yield client
    client.stop()
    client.close()


@contextlib.contextmanager
def in_thread(function: Callable[[], Any], end: Callable[[], Any]) -> Iterator[None]:
    """Run a function that waits on a thread until the block has ended and ``end`` is called."""

    def run() -> None:
        with contextlib.suppress(Exception):
            function()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end()
        thread.join(30)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    wait_until(condition, "what the other clients do")


def one(web: Browser, path: str) -> Any:
    return web.get(f"/c/local/recipes/one?path={quote(path)}")["recipe"]


def texts(recipe: Any, state: str) -> list[str]:
    return [member["text"] for member in recipe["members"] if member["state"] == state]


def children(zk: Client, path: str, count: int) -> Callable[[], bool]:
    def has_them() -> bool:
        return zk.exists(path) is not None and len(zk.children(path).names) == count

    return has_them


def test_a_lock_of_kazoo_and_zoolet(web: Browser, zk: Client, kazoo: KazooClient) -> None:
    first, second = kazoo.Lock("/a/lock", "ann"), zk.lock("/a/lock", "bob")
    first.acquire()
    with in_thread(second.acquire, second.cancel):
        until(children(zk, "/a/lock", 2))
        found = one(web, "/a/lock")
        assert found["title"] == "lock or election of kazoo and zoolet"
        assert (texts(found, "holds"), texts(found, "waits")) == (["ann"], ["bob"])
        holder = found["members"][0]
        assert holder["session"] == f"{kazoo.client_id[0]:#x}"
        assert holder["host"].startswith("127.0.0.1:")
        assert holder["asked_ms"] > 0
        assert holder["host"] in web.html("/c/local/recipes/one?path=/a/lock")
        listed = web.get("/c/local/recipes?path=/a")["result"]
        assert [recipe["path"] for recipe in listed["recipes"]] == ["/a/lock"]
        assert listed["is_complete"] is True
        page = web.html("/c/local/tree?path=/a/lock")
        assert "Recipe: lock or election of kazoo and zoolet" in page
        assert "Recipe" not in web.get("/c/local/tree?path=/a")["recipe"]
    first.release()


def test_read_write_locks(web: Browser, zk: Client, kazoo: KazooClient) -> None:
    reader, other = kazoo.ReadLock("/rw", "r1"), zk.read_lock("/rw", "r2")
    writer = kazoo.WriteLock("/rw", "w1")
    reader.acquire()
    other.acquire()
    with in_thread(writer.acquire, writer.cancel):
        until(children(zk, "/rw", 3))
        found = one(web, "/rw")
        assert found["kind"] == "read-write lock"
        assert (texts(found, "holds"), texts(found, "waits")) == (["r1", "r2"], ["w1"])
        assert [member["role"] for member in found["members"]] == ["reader", "reader", ""]
        other.release()
        reader.release()
        until(children(zk, "/rw", 1))
        assert one(web, "/rw")["kind"] == "lock or election"


def test_a_lock_of_kazoo_with_other_patterns(web: Browser, zk: Client, kazoo: KazooClient) -> None:
    zk.create("/go")
    go = f"/go/_c_{HEX}-lock-"
    zk.create(go, b"go", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
    lock = kazoo.Lock("/go", "ann", extra_lock_patterns=["lock-"])
    assert not lock.acquire(blocking=False)
    with in_thread(lock.acquire, lock.cancel):
        until(children(zk, "/go", 2))
        found = one(web, "/go")
        assert found["libraries"] == ["Go's client", "kazoo"]
        assert "extra_lock_patterns" in found["notes"][0]
        assert (texts(found, "holds"), texts(found, "waits")) == (["go"], ["ann"])


def test_a_semaphore(web: Browser, zk: Client, kazoo: KazooClient) -> None:
    first, second = kazoo.Semaphore("/s/sem", "k", max_leases=2), zk.semaphore("/s/sem", 2, "z")
    third = kazoo.Semaphore("/s/sem", "late", max_leases=2)
    first.acquire()
    lease = second.acquire()
    with in_thread(third.acquire, third.cancel):
        until(children(zk, "/s/sem-__lock__", 1))
        found = one(web, "/s/sem")
        assert found["kind"] == "semaphore"
        assert sorted(texts(found, "holds")) == ["k", "z"]
        assert texts(found, "waits") == ["late"]
        assert found["facts"] == {"Most leases": "2"}
        part = web.get("/c/local/recipes/one?path=/s/sem-__lock__")
        assert part["part_of"] == "/s/sem"
        listed = web.get("/c/local/recipes?path=/s")["result"]["recipes"]
        assert [recipe["path"] for recipe in listed] == ["/s/sem"]
    lease.release()
    first.release()
    found = one(web, "/s/sem")
    assert (found["num_holding"], found["kind"]) == (0, "semaphore")


def test_queues(web: Browser, zk: Client, kazoo: KazooClient) -> None:
    queue, locking = kazoo.Queue("/q/plain"), kazoo.LockingQueue("/q/locking")
    for priority, value in ((200, b"last"), (5, b"first")):
        queue.put(value, priority)
    locking.put_all([b"a", b"b"])
    assert locking.get(10) == b"a"
    found = one(web, "/q/plain")
    assert found["title"] == "queue of kazoo or zoolet"
    assert texts(found, "item") == ["first", "last"]
    assert [member["priority"] for member in found["members"]] == [5, 200]
    found = one(web, "/q/locking")
    assert found["kind"] == "locking queue"
    assert texts(found, "item") == ["b"]
    holder = next(member for member in found["members"] if member["state"] == "holds")
    assert holder["session"] == f"{kazoo.client_id[0]:#x}"
    assert web.get("/c/local/recipes/one?path=/q/locking/taken")["part_of"] == "/q/locking"
    listed = web.get("/c/local/recipes?path=/q")["result"]["recipes"]
    assert [recipe["path"] for recipe in listed] == ["/q/locking", "/q/plain"]
    zk.locking_queue("/q/mine").put(b"c")
    zk.locking_queue("/q/mine").get().release()
    assert texts(one(web, "/q/mine"), "item") == ["c"]


def test_a_long_queue_shows_its_first_items(web: Browser, zk: Client) -> None:
    zk.create("/long")
    for start in range(0, 21_000, 1000):
        multi = Multi()
        for number in range(start, start + 1000):
            multi.create(f"/long/entry-100-{number:010d}")
        zk.multi(multi)
    found = one(web, "/long")
    assert found["num_members"] == 21_000
    assert [member["sequence"] for member in found["members"]] == list(range(200))
    listed = web.get("/c/local/recipes?path=/")["result"]
    assert listed["long"] == [{"path": "/long", "num_children": 21_000}]
    assert listed["is_complete"] is False
    page = web.html("/c/local/recipes/one?path=/long")
    assert "The first 200 are shown" in page


def test_double_barriers_parties_and_partitioners(
    web: Browser, zk: Client, kazoo: KazooClient
) -> None:
    barrier = kazoo.DoubleBarrier("/g/barrier", 2, "ann")
    other = zk.double_barrier("/g/barrier", 2, "bob")

    def enter() -> None:
        other.enter()

    ended = threading.Event()
    with in_thread(lambda: (barrier.enter(), ended.wait(30)), ended.set):
        until(children(zk, "/g/barrier", 1))
        found = one(web, "/g/barrier")
        assert found["title"] == "probably a double barrier of kazoo or zoolet"
        assert texts(found, "waits") == ["ann"]
        enter()
        found = one(web, "/g/barrier")
        assert (found["is_sure"], sorted(texts(found, "member"))) == (True, ["ann", "bob"])
    party, shallow = kazoo.Party("/g/party", "ann"), kazoo.ShallowParty("/g/shallow", "zoe")
    party.join()
    shallow.join()
    with zk.party("/g/party", "bob"):
        assert sorted(texts(one(web, "/g/party"), "member")) == ["ann", "bob"]
    assert texts(one(web, "/g/shallow"), "member") == ["zoe"]
    partitioner = kazoo.SetPartitioner("/g/set", ["east", "west"], time_boundary=0.1)
    until(lambda: partitioner.wait_for_acquire(0.1) or partitioner.acquired)
    found = one(web, "/g/set")
    assert found["kind"] == "set partitioner"
    roles = [member["role"] for member in found["members"] if member["state"] == "holds"]
    assert sorted(roles) == ["item east", "item west"]
    listed = web.get("/c/local/recipes?path=/g")["result"]["recipes"]
    paths = sorted(recipe["path"] for recipe in listed)
    assert paths == ["/g/barrier", "/g/party", "/g/set", "/g/shallow"]
    partitioner.finish()


def test_leases_and_counters(web: Browser, zk: Client, kazoo: KazooClient) -> None:
    assert kazoo.NonBlockingLease("/n/lease", dt.timedelta(hours=1), "ann")
    found = one(web, "/n/lease")
    assert (found["kind"], texts(found, "holds")) == ("lease with a time limit", ["ann"])
    zk.counter("/n/count").add(17)
    found = one(web, "/n/count")
    assert (found["kind"], found["facts"]["Value"]) == ("counter", "17")
    listed = web.get("/c/local/recipes?path=/n")["result"]["recipes"]
    assert sorted(recipe["path"] for recipe in listed) == ["/n/count", "/n/lease"]


def test_the_longest_wait_is_first(web: Browser, zk: Client) -> None:
    for name in ("free", "held"):
        zk.create(f"/{name}")
    zk.create(f"/free/{HEX}__lock__", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
    for _ in range(2):
        zk.create(f"/held/{HEX}__lock__", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
    listed = web.get("/c/local/recipes")["result"]["recipes"]
    assert [recipe["path"] for recipe in listed] == ["/held", "/free"]


@pytest.mark.parametrize("seed", range(3))
def test_a_search_finds_the_locks_of_a_random_tree(web: Browser, zk: Client, seed: int) -> None:
    choices = random.Random(seed)
    zk.create("/tree")
    inner, locks = ["/tree"], set()
    for number in range(120):
        parent = choices.choice(inner[-30:])
        # Names that recipes use too are no recipe, so the search looks below them.
        unique = str(uuid.UUID(int=choices.getrandbits(128), version=4))
        name = choices.choice([unique, unique.replace("-", ""), f"a{number}", f"entry-{number}"])
        path = zk.create(f"{parent}/{name}").path
        if choices.random() < 0.3:
            zk.create(f"{path}/{HEX}__lock__", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
            locks.add(path)
        else:
            inner.append(path)
    result = web.get("/c/local/recipes?path=/tree")["result"]
    assert {recipe["path"] for recipe in result["recipes"]} == locks
    assert (result["is_complete"], result["problems"]) == (True, [])


def test_a_search_with_progress(web: Browser, zk: Client) -> None:
    for top in range(3):
        zk.create(f"/t{top}")
        multi = Multi()
        for number in range(500):
            multi.create(f"/t{top}/n{number:03}")
        zk.multi(multi)
    zk.create("/t2/n499/deep")
    zk.create(f"/t2/n499/deep/{HEX}__lock__", b"ann", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
    quick = web.get("/c/local/recipes")["result"]
    assert (quick["is_complete"], quick["num_visited"], quick["recipes"]) == (False, 1000, [])
    assert "Search up to 20,000 znodes" in web.html("/c/local/recipes")
    started = web.post("/c/local/recipes/search", {"path": "/"})
    until(lambda: web.get(started["page"])["state"] != "running")
    found = web.get(started["page"])
    assert found["state"] == "done"
    assert found["result"]["is_complete"] is True
    assert [recipe["path"] for recipe in found["result"]["recipes"]] == ["/t2/n499/deep"]
    assert "/t2/n499/deep" in web.html(started["page"])
    assert web.post("/c/local/recipes/search", {"path": "x"}, 400)["error"]


def test_a_search_is_cancelled(web: Browser, server: EmbeddedServer, zk: Client) -> None:
    zk.create("/slow")
    with server.faults.on(OpCode.EXISTS, path="/slow", times=None).delay(60):
        started = web.post("/c/local/recipes/search", {"path": "/slow"})
        answer = web.post(f"{started['page']}/cancel", {})
    assert answer["state"] == "cancelled"
    assert web.get(started["page"])["result"] == {}


def test_a_user_without_the_permission_sees_that_something_is_missing(
    web: Browser, zk: Client
) -> None:
    zk.create("/closed")
    zk.create(f"/closed/{HEX}__lock__", b"secret", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
    name = zk.children("/closed").names[0]
    no_read = ACL(int(Permission.ADMIN | Permission.DELETE), Id("world", "anyone"))
    zk.set_acl(f"/closed/{name}", (no_read,))
    found = one(web, "/closed")
    assert texts(found, "holds") == [""]
    assert "permit" in found["members"][0]["note"]
    zk.set_acl("/closed", (no_read,))
    assert web.get("/c/local/recipes")["result"]["num_refused"] == 1
    web.get("/c/local/recipes/one?path=/closed", 403)
    assert web.get("/c/local/tree?path=/closed")["recipe"] == ""
    zk.set_acl("/closed", OPEN_ACL)
    zk.set_acl(f"/closed/{name}", OPEN_ACL)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_escaped(web: Browser, zk: Client, text: str) -> None:
    shown = text.replace("\x1b", "")
    zk.create(f"/{shown}")
    member = f"/{shown}/{HEX}__party__"
    zk.create(member, text.encode(), mode=CreateMode.EPHEMERAL)
    url = f"/c/local/recipes/one?path={quote('/' + shown)}"
    for page in (web.html(url), web.html("/c/local/recipes")):
        assert "<script>alert" not in page
        assert str(7777 * 7777) not in page
    assert texts(one(web, f"/{shown}"), "member") == [text]
    zk.set(member, b"\xff" * 900_000)
    assert len(texts(one(web, f"/{shown}"), "member")[0]) == 201


def test_what_is_no_recipe(web: Browser, zk: Client) -> None:
    zk.create("/plain")
    zk.create("/plain/lock-0000000001")
    assert "no recipe" in web.get("/c/local/recipes/one?path=/plain", 404)["error"]
    assert web.get("/c/local/recipes/one?path=/none", 404)["error"]
    assert web.get("/c/local/recipes?path=/none", 404)["error"]
    assert web.get("/c/local/recipes?path=x", 400)["error"]
    assert web.get("/c/local/recipes/one", 400)["error"]
    zk.create("/many")
    for start in range(0, 21_000, 1000):
        multi = Multi()
        for number in range(start, start + 1000):
            multi.create(f"/many/{HEX}__lock__{number:010d}")
        zk.multi(multi)
    found = web.get("/c/local/recipes/one?path=/many", 413)
    assert "21,000 children" in found["error"]


@pytest.fixture
def editor(server: EmbeddedServer, tmp_path: Path) -> Iterator[Browser]:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    with browsing(settings) as browser:
        yield browser


def holder_of(web: Browser, path: str) -> dict[str, Any]:
    holder = one(web, path)["members"][0]
    names = ("czxid", "version")
    return {"path": path, "znode": holder["path"], **{name: holder[name] for name in names}}


def test_a_lock_is_broken(
    editor: Browser, zk: Client, kazoo: KazooClient, caplog: pytest.LogCaptureFixture
) -> None:
    editor.log_in("ed")
    stuck, waiting = kazoo.Lock("/stuck", "dead"), zk.lock("/stuck", "next")
    stuck.acquire()
    with in_thread(waiting.acquire, waiting.cancel):
        until(children(zk, "/stuck", 2))
        fields = holder_of(editor, "/stuck")
        url = f"/c/local/recipes/break?path=/stuck&znode={fields['znode']}"
        page = editor.html(url)
        for said in ("in local", "Risk", "dead", f"{kazoo.client_id[0]:#x}", "1 client waits"):
            assert said in page
        assert "Break…" in editor.html("/c/local/recipes/one?path=/stuck")
        with caplog.at_level(logging.INFO, AUDIT):
            answer = editor.post("/c/local/recipes/break", fields)
        assert answer == {"deleted": fields["znode"]}
        records = audit_of(caplog.records)
        assert [record["operation"] for record in records] == ["break"]
        assert records[0]["session"] == f"{kazoo.client_id[0]:#x}"
        until(lambda: waiting.is_held)
        assert texts(one(editor, "/stuck"), "holds") == ["next"]
        # The form was sent twice: the next holder keeps the lock.
        with caplog.at_level(logging.INFO, AUDIT):
            assert "any more" in editor.post("/c/local/recipes/break", fields, 409)["error"]
        records = audit_of(caplog.records)
        assert records[-1]["result"] == "conflict"
        assert texts(one(editor, "/stuck"), "holds") == ["next"]


def test_only_a_holder_that_was_seen_can_be_broken(
    editor: Browser, zk: Client, kazoo: KazooClient
) -> None:
    editor.log_in("ed")
    zk.create("/kept", b"data")
    zk.create("/two")
    zk.create(f"/two/{HEX}__lock__", b"1", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
    waiter = zk.create(f"/two/{HEX}__lock__", b"2", mode=CreateMode.EPHEMERAL_SEQUENTIAL).path
    fields = holder_of(editor, "/two")
    for wrong, status in (
        ({"znode": waiter}, 409),
        ({"znode": "/kept"}, 409),
        ({"path": "/kept"}, 409),
        ({"znode": "x"}, 400),
        ({"czxid": 1}, 409),
        ({"version": 7}, 409),
        ({"czxid": "x"}, 400),
        ({"path": "/none"}, 404),
    ):
        editor.post("/c/local/recipes/break", {**fields, **wrong}, status)
    assert len(zk.children("/two").names) == 2
    editor.get(f"/c/local/recipes/break?path=/two&znode={waiter}", 409)
    kazoo.Queue("/queue").put(b"value")
    item = f"/queue/{zk.children('/queue').names[0]}"
    sent = {"path": "/queue", "znode": item, "czxid": 1, "version": 0}
    editor.post("/c/local/recipes/break", sent, 409)
    assert zk.exists(item) is not None


def test_a_viewer_and_a_form_without_a_token_break_nothing(editor: Browser, zk: Client) -> None:
    zk.create("/two")
    zk.create(f"/two/{HEX}__lock__", b"1", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
    editor.log_in("vi")
    fields = holder_of(editor, "/two")
    assert "Break…" not in editor.html("/c/local/recipes/one?path=/two")
    url = "/c/local/recipes/break"
    assert "danger" not in editor.html(f"{url}?path=/two&znode={fields['znode']}")
    assert "editor" in editor.post(url, fields, 403)["error"]
    editor.log_in("ed")
    answer = editor.client.post(url, data=fields, follow_redirects=False)
    assert answer.status_code == 403
    assert editor.client.post("/c/local/recipes/search", data={"path": "/"}).status_code == 403
    assert len(zk.children("/two").names) == 1


def test_a_server_that_stops_and_returns(web: Browser, server: EmbeddedServer, zk: Client) -> None:
    zk.create("/l")
    zk.create(f"/l/{HEX}__lock__0000000001", b"ann")
    assert texts(one(web, "/l"), "holds") == ["ann"]
    server.stop()
    server.start()
    answer = web.client.get("/c/local/recipes", headers={"Accept": "application/json"})
    assert answer.status_code in {200, 503}
    found = one(web, "/l")
    assert texts(found, "holds") == ["ann"]
    assert "not ephemeral" in found["members"][0]["note"]
