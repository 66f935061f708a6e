"""The word topk and the admin command top: what a running server says about the last minute."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.rawclient import RawClient
from zoolet.client import Client, Multi
from zoolet.model.codes import OpCode
from zoolet.testing import EmbeddedServer, ReservedPort
from zoolet.wire.jute import INT, pack_buffer, pack_ustring


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


def asked(server: EmbeddedServer) -> dict[str, Any]:
    """Return the answer to topk, in another second than the answers before."""
    server.clock.move(1.0)
    answer = server.ask("topk")
    assert answer.isascii()
    found: dict[str, Any] = json.loads(answer)
    return found


def by(found: dict[str, Any], table: str, key: str) -> dict[str, int]:
    return {row[key]: row["samples"] for row in found[table]}


def test_a_known_mix_of_requests_is_counted(server: EmbeddedServer) -> None:
    """A new server looks at each of the first hundred requests, so the counts are exact."""
    with Client(server.hosts) as busy, Client(server.hosts) as calm:
        busy.create("/a", b"1")
        for _ in range(20):
            busy.get("/a")
        for _ in range(5):
            busy.set("/a", b"2")
        busy.multi(Multi().create("/a/b").create("/a/c"))
        calm.exists("/a/none")
        calm.children("/")
        found = asked(server)
        assert by(found, "paths", "path") == {"/a": 26, "/a/b": 1, "/a/none": 1, "/": 1}
        assert by(found, "parents", "path") == {"/": 27, "/a": 2}
        operations = by(found, "operations", "operation")
        assert operations.pop("createSession") == 2
        assert sum(operations.values()) == 29
        assert (operations["getData"], operations["setData"], operations["multi"]) == (20, 5, 1)
        assert [row["session"] for row in found["clients"]] == [
            f"{client.session_id.id:#x}" for client in (busy, calm)
        ]
        assert found["clients"][0]["error_per_s"] == 0.0
        assert found["addresses"][0]["address"] == "127.0.0.1"
        assert (found["gap"], found["total"]["samples"]) == (1, 31)
        writes = next(row for row in found["paths"] if row["path"] == "/a")
        assert writes["writes_per_s"] == pytest.approx(writes["requests_per_s"] * 6 / 26, rel=0.05)


def test_an_idle_server_has_no_rows(server: EmbeddedServer) -> None:
    found = asked(server)
    assert found["total"]["samples"] == 0
    assert found["paths"] == found["clients"] == []


def test_hostile_paths_are_ascii_without_control_characters(server: EmbeddedServer) -> None:
    paths = ["/\x1b[31mred", "/\u202eright", "/<script>", "/a\nb", "/\x9b31m", "/שלום"]
    with RawClient(server.port) as client:
        client.connect()
        for path in paths:
            client.request(OpCode.GET_DATA, pack_ustring(path) + b"\0")
        client.request(OpCode.GET_DATA, pack_buffer(b"/\xff\xfe") + b"\0")
        client.request(OpCode.GET_DATA, pack_buffer(b"/" + b"x" * 500_000) + b"\0")
        found = asked(server)
        assert set(paths) < set(by(found, "paths", "path"))
        assert "/\ufffd\ufffd" in by(found, "paths", "path")
        assert max(map(len, by(found, "paths", "path"))) < 250
        answer = server.ask("topk")
    assert all(character == "\n" or 32 <= ord(character) < 127 for character in answer)


def test_secrets_are_not_shown(server: EmbeddedServer) -> None:
    with RawClient(server.port) as client:
        client.connect()
        body = INT.pack(0) + pack_ustring("digest") + pack_buffer(b"user:the-password")
        client.request(OpCode.AUTH, body, xid=-4)
        client.request(OpCode.SET_DATA, pack_ustring("/a") + pack_buffer(b"the-data") + INT.pack(0))
    answer = json.dumps(asked(server))
    assert '"/a"' in answer
    assert "the-password" not in answer
    assert "the-data" not in answer


def test_the_answer_is_at_most_a_second_old(server: EmbeddedServer) -> None:
    server.clock.freeze()
    with Client(server.hosts) as client:
        client.exists("/one")
        first = server.ask("topk")
        client.exists("/two")
        assert server.ask("topk") == first
        server.clock.move(1.0)
        assert "/two" in server.ask("topk")


def test_many_operators_ask_at_the_same_time(server: EmbeddedServer) -> None:
    with Client(server.hosts) as client:
        for number in range(90):
            client.exists(f"/{number:03}")
        answers: list[dict[str, Any]] = []
        threads = [
            threading.Thread(target=lambda: answers.append(json.loads(server.ask("topk"))))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [found["total"]["samples"] for found in answers] == [91] * 20
        client.get("/")


def test_the_figures_of_the_server_count_the_same_as_before(server: EmbeddedServer) -> None:
    def received() -> int:
        figures = dict(line.split("\t", 1) for line in server.ask("mntr").splitlines())
        return int(figures["zk_packets_received"])

    with RawClient(server.port) as client:
        client.connect()
        before = received()
        for _ in range(300):
            client.request(OpCode.EXISTS, pack_ustring("/a") + b"\0")
        assert asked(server)["paths"][0]["path"] == "/a"
        assert received() == before + 300


def test_the_whitelist_decides() -> None:
    with EmbeddedServer(settings={"4lw.commands.whitelist": "srvr"}) as server:
        refusal = "topk is not executed because it is not in the whitelist.\n"
        assert server.ask("topk") == refusal


def test_the_admin_endpoint_has_the_same() -> None:
    port = ReservedPort()
    settings = {
        "admin.enableServer": "true",
        "admin.serverPort": port.number,
        "admin.serverAddress": "127.0.0.1",
    }
    with EmbeddedServer(settings=settings) as server, Client(server.hosts) as client:
        client.exists("/seen")
        word = asked(server)
        for name in ("top", "topk"):
            url = f"http://127.0.0.1:{port.number}/commands/{name}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                found = json.load(answer)
            assert (found["command"], found["error"]) == ("top", None)
            assert found["paths"] == word["paths"]
    port.release()
