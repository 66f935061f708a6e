"""The pages of servers and sessions: figures, gaps, refused words, hostile answers, many rows."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.support.waiting import wait_until
from tests.support.web import Browser, browsing, settings_of
from zoolet.client import Client, CreateMode
from zoolet.testing import EmbeddedServer


@pytest.fixture
def web(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    monkeypatch.setattr("zoolet.web.servers.sampling.INTERVAL_S", 0.05)
    monkeypatch.setattr("zoolet.web.servers.sessions.FRESH_S", 0.0)
    with browsing(settings_of(server.hosts)) as browser:
        yield browser


def sampled(web: Browser, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the page of servers as soon as its first server fulfils a condition."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found.append(web.get("/c/local/server"))
        return check(found[-1]["servers"][0])

    wait_until(look, "a sample")
    return found[-1]


def test_the_figures_of_a_server(web: Browser, server: EmbeddedServer, zk: Client) -> None:
    zk.create("/a", b"x")
    page = sampled(web, lambda one: one["mode"] == "standalone" and one["figures"]["znodes"] == 6)
    (shown,) = page["servers"]
    assert shown["address"] == server.hosts
    assert shown["problem"] == ""
    assert shown["figures"]["connections"] >= 1
    assert page["members"] == []
    assert "3.9" in shown["version"]
    titles = [chart["title"] for chart in page["charts"]]
    assert titles[:2] == ["Connections", "Requests"]
    html = web.html("/c/local/server")
    assert "standalone" in html
    assert "<svg" in html
    assert "The server is standalone" in html
    part = web.client.get("/c/local/server", headers={"X-Part": "figures"}).text
    assert "<!DOCTYPE" not in part
    assert "standalone" in part
    part = web.client.get("/c/local/server", headers={"X-Part": "charts"}).text
    assert "<svg" in part
    assert "<!DOCTYPE" not in part


def test_a_server_that_stops_leaves_a_gap_and_returns(web: Browser, server: EmbeddedServer) -> None:
    sampled(web, lambda one: one["mode"] == "standalone")
    server.stop()
    try:
        page = sampled(web, lambda one: one["mode"] is None)
        assert "cannot be reached" in page["servers"][0]["problem"]
        assert "no answer" in web.client.get("/c/local/server", headers={"X-Part": "figures"}).text
    finally:
        server.start()
    page = sampled(web, lambda one: one["mode"] == "standalone")
    values = [value for _, value in page["charts"][0]["series"][0]["points"]]
    first = values.index(None)
    assert first > 0
    assert values[-1] is not None


def test_a_session_with_its_ephemerals_and_watches(web: Browser, zk: Client) -> None:
    zk.create("/dir")
    for number in range(120):
        zk.create(f"/dir/<b>e{number:03}", mode=CreateMode.EPHEMERAL)
    owner = zk.exists("/dir/<b>e000")
    assert owner is not None
    name = f"{owner.ephemeral_owner % (1 << 64):#x}"
    zk.add_watch("/dir", lambda _: None)
    listed = web.get("/c/local/sessions?order=ephemerals")
    assert listed["sessions"][0]["id"] == name
    assert listed["sessions"][0]["ephemerals"] == 120
    assert listed["problems"] == []
    assert listed["watches"][0]["watches"] >= 1
    found = web.get(f"/c/local/sessions/{name}?ephemerals=100")
    assert found["ephemerals"]["total"] == 120
    assert len(found["ephemerals"]["paths"]) == 20
    assert found["ephemerals"]["paths"][0]["in_tree"].startswith("/dir/<b>e")
    assert found["watches"]["paths"] == [{"path": "/dir", "in_tree": "/dir"}]
    assert found["session"]["timeout_ms"] > 0
    html = web.html(f"/c/local/sessions/{name}")
    assert "&lt;b&gt;e000" in html
    assert "<b>e" not in html
    assert f"/c/local/sessions/{name}" in web.html("/c/local/tree?path=/dir/%3Cb%3Ee000")
    assert web.get(f"/c/local/sessions?filter={name}")["total"] == 1
    assert web.get("/c/local/sessions?filter=nothing-like-it")["total"] == 0


def test_errors_are_explained(web: Browser) -> None:
    assert "has ended" in web.get("/c/local/sessions/0x1234", 404)["error"]
    assert "0x1a2b" in web.get("/c/local/sessions/abc", 400)["error"]
    assert "order" in web.get("/c/local/sessions?order=x", 400)["error"]
    web.get("/c/local/sessions?start=-1", 400)


def test_words_that_the_server_does_not_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoolet.web.servers.sampling.INTERVAL_S", 0.05)
    with (
        EmbeddedServer(settings={"4lw.commands.whitelist": "srvr"}) as server,
        browsing(settings_of(server.hosts)) as web,
    ):
        page = sampled(web, lambda one: one["mode"] == "standalone")
        assert "4lw.commands.whitelist=srvr,mntr" in page["servers"][0]["problem"]
        assert page["servers"][0]["figures"]["connections"] >= 1
        listed = web.get("/c/local/sessions")
        assert listed["sessions"] == []
        for word in ("cons", "dump"):
            assert any(f"does not allow {word}" in text for text in listed["problems"])
        assert "4lw.commands.whitelist=srvr,wchs" in listed["watches"][0]["problem"]
        found = web.get("/c/local/sessions/0x1234")
        assert any("does not allow dump" in text for text in found["problems"])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait only shortly for servers of these tests that do not answer."""
    monkeypatch.setattr("zoolet.web.servers.sampling.INTERVAL_S", 0.05)
    monkeypatch.setattr("zoolet.web.pages.servers.CONFIG_S", 0.1)


@contextmanager
def answering(answers: dict[str, list[bytes]]) -> Iterator[str]:
    """Serve answers to four-letter words; give the block the address.

    An empty list as the answer means that the connection stays open without one.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        open_ones: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                open_ones.append(connection)
                try:
                    parts = answers.get(connection.recv(4).decode("latin-1"), [])
                    for part in parts:
                        connection.sendall(part)
                    if parts:
                        connection.close()
                except OSError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in open_ones:
            connection.close()


CONS = (
    " /10.0.0.{0}:5{0:04}[1](queued=0,recved={0},sent=2,sid=0x{1:x},lop=PING,est=1700000000000,"
    "to=30000,lcxid=0x1,lzxid=0x2,lresp=3,llat=0,minlat=0,avglat=1,maxlat=7)\n"
)


def test_many_sessions_are_read_in_steps_and_paged() -> None:
    lines = "".join(CONS.format(number % 200, number + 1) for number in range(60_000))
    dump = "SessionTracker dump:\nephemeral nodes dump:\nSessions with Ephemerals (1):\n0x5:\n"
    dump += "".join(f"\t/e/{number}\n" for number in range(100_000))
    answers = {"cons": [lines.encode(), b"\n"], "dump": [dump.encode()], "wchs": [b"x"]}
    watched = "".join(f"\t/w/{number}\n" for number in range(300_000))
    answers["wchc"] = [f"0x4\n\t/other\n0x5\n{watched}0x6\n\t/other\n\n".encode()]
    with answering(answers) as address, browsing(settings_of(address)) as web:
        listed = web.get("/c/local/sessions?order=id&start=59950")
        assert listed["total"] == 60_000
        assert [one["id"] for one in listed["sessions"]][-1] == f"{60_000:#x}"
        assert len(listed["sessions"]) == 50
        first = web.get("/c/local/sessions")["sessions"][0]
        assert (first["id"], first["ephemerals"]) == ("0x5", 100_000)
        assert len(web.html("/c/local/sessions")) < 200_000
        found = web.get("/c/local/sessions/0x5?watches=299990")
        assert found["watches"]["total"] == 300_000
        assert found["watches"]["paths"][-1]["path"] == "/w/299999"
        assert found["ephemerals"]["total"] == 100_000


@pytest.mark.usefixtures("impatient")
def test_hostile_answers_are_only_text() -> None:
    markup = "<script>alert(1)</script>\u202e\x1b[31m"
    cons = f" /{markup}[1](queued=x,recved=99999999999999999999999,sid=0x5,lop={markup},to=-1)\n"
    dump = f"ephemeral nodes dump:\n0x5:\n\t/{markup}\n\tno path\nConnections dump:\n\t/late\n"
    answers = {
        "cons": [cons.encode() + b"\xff\xfe\n[1]()\n" + b" /a[1](" + b"(" * 5000 + b")\n"],
        "dump": [dump.encode()],
        "wchc": [f"0x5\n\t/{markup}\n".encode()],
        "srvr": [f"Mode: {markup}\nZxid: zz\nReceived: nan\nConnections: 1e999\n".encode()],
        "mntr": [f"zk_version\t{markup}\nzk_znode_count\tx\n".encode()],
    }
    with answering(answers) as address, browsing(settings_of(address)) as web:
        sampled(web, lambda one: one["mode"] is not None and markup[:20] in one["mode"])
        for url in ("server", "sessions", "sessions/0x5"):
            page = web.html(f"/c/local/{url}")
            assert "<script>alert" not in page, url
            assert "&lt;script&gt;" in page, url
        found = web.get("/c/local/sessions/0x5")
        assert [one["path"] for one in found["ephemerals"]["paths"]] == [f"/{markup}"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("seed", range(5))
def test_random_answers_never_break_a_page(seed: int) -> None:
    """Whatever a server answers, each page has a status of its own and says what is missing."""
    rng = random.Random(seed)
    words = ["0x5", "\t/a", "ephemeral nodes dump:", " /h:1[1](sid=0x5,to=1)", "=", "\n", "\x00"]
    words += ["Mode: leader", "Zxid: 0x1", "zk_uptime\t1", "Total watches:1", "\u00e9", "[", ")"]

    def some() -> list[bytes]:
        text = "".join(rng.choice(words) + rng.choice(["", "\n", "\n"]) for _ in range(200))
        data = bytearray(text.encode())
        for _ in range(rng.randrange(5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return [bytes(data[:60]), bytes(data[60:])]

    answers = {word: some() for word in ("cons", "dump", "wchs", "wchc", "srvr", "mntr")}
    with answering(answers) as address, browsing(settings_of(address)) as web:
        for url in ("server", "sessions", "sessions/0x5", "sessions/0x6"):
            answer = web.client.get(f"/c/local/{url}")
            assert answer.status_code in {200, 404}, url


def test_a_server_that_does_not_answer_holds_up_no_other(
    server: EmbeddedServer, zk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoolet.web.servers.sampling.INTERVAL_S", 0.05)
    monkeypatch.setattr("zoolet.web.servers.sessions.LONG_TIMEOUT_S", 0.3)
    zk.create("/mine", mode=CreateMode.EPHEMERAL)
    with (
        answering({}) as silent,
        browsing(settings_of(f"{server.hosts},{silent}")) as web,
    ):
        sampled(web, lambda one: one["mode"] == "standalone")
        listed = web.get("/c/local/sessions")
        assert listed["all"] >= 1
        assert any("does not answer cons" in text for text in listed["problems"])
