"""Forms that change something: what they write, conflicts, and who may send them."""

import base64
import gzip
import logging
from collections.abc import Iterator
from pathlib import Path

import cramjam
import pytest

from tests.support.web import (
    AUDIT,
    Browser,
    audit_lines,
    audit_of,
    browsing,
    settings_of,
    users_file,
)
from zoolet.client import Client, NoNodeError
from zoolet.testing import EmbeddedServer


@pytest.fixture
def web(server: EmbeddedServer, tmp_path: Path) -> Iterator[Browser]:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    with browsing(settings) as browser:
        yield browser


@pytest.fixture
def editor(web: Browser) -> Browser:
    return web.log_in("ed")


def fields_of(browser: Browser, path: str) -> dict[str, object]:
    found = browser.get(f"/c/local/tree?path={path}")
    stat, data = found["stat"], found["data"]
    return {
        "path": path,
        "version": stat["version"],
        "czxid": stat["czxid"],
        "view": data["view"],
        "content": data["text"],
    }


STORED = [
    None,
    b"",
    b"text",
    b"\nfirst line is empty",
    b"a\r\nb\r\n",
    b'{"a": 1.50}',
    gzip.compress(b"packed", mtime=0),
    bytes(cramjam.zstd.compress(b"packed")),
    bytes(cramjam.snappy.compress(b"packed")),
    base64.b64encode(b"a text in base64") + b"\n",
    base64.b64encode(gzip.compress(b"packed", 1, mtime=0)),
    gzip.compress(b"one", mtime=0) + gzip.compress(b"two", mtime=0),
]


@pytest.mark.parametrize("data", STORED)
def test_unchanged_content_stores_the_identical_bytes(
    editor: Browser, zk: Client, data: bytes | None
) -> None:
    zk.create("/d", data)
    fields = fields_of(editor, "/d")
    fields["content"] = str(fields["content"]).replace("\r\n", "\n").replace("\n", "\r\n")
    assert editor.post("/c/local/save", fields) == {"version": 1}
    assert zk.get("/d").data == data


@pytest.mark.parametrize("data", STORED[6:9])
def test_edited_content_is_stored_in_the_same_encoding(
    editor: Browser, zk: Client, data: bytes
) -> None:
    zk.create("/d", data)
    editor.post("/c/local/save", fields_of(editor, "/d") | {"content": "other\r\nline"})
    assert zk.get("/d").data != data
    assert editor.get("/c/local/tree?path=/d")["data"]["text"] == "other\nline"
    assert len(editor.get("/c/local/tree?path=/d")["data"]["encodings"]) == 1


def test_an_edit_of_hex(editor: Browser, zk: Client) -> None:
    zk.create("/h", b"\x00\x01")
    fields = fields_of(editor, "/h") | {"content": "ff 00\r\n 7f"}
    editor.post("/c/local/save", fields)
    assert zk.get("/h").data == b"\xff\x00\x7f"
    wrong = fields_of(editor, "/h") | {"content": "f"}
    assert "hex" in editor.post("/c/local/save", wrong, 400)["error"]


def test_a_conflict_shows_both_values_and_writes_nothing(editor: Browser, zk: Client) -> None:
    zk.create("/c", b"old")
    fields = fields_of(editor, "/c") | {"content": "mine"}
    zk.set("/c", b"theirs")
    found = editor.post("/c/local/save", fields, 409)
    assert (found["theirs"], found["yours"]) == ("theirs", "mine")
    assert zk.get("/c").data == b"theirs"
    assert editor.post("/c/local/save", fields | {"version": found["version"]}) == {"version": 2}
    assert zk.get("/c").data == b"mine"


def test_a_znode_that_was_created_again_is_a_conflict(editor: Browser, zk: Client) -> None:
    zk.create("/c", b"old")
    fields = fields_of(editor, "/c") | {"content": "mine"}
    zk.delete("/c")
    zk.create("/c", b"other")
    editor.post("/c/local/save", fields, 409)
    assert zk.get("/c").data == b"other"


def test_a_conflict_of_acls(editor: Browser, zk: Client) -> None:
    zk.create("/c")
    wanted = {"path": "/c", "aversion": 0, "acl": "world:anyone:cdrwa\r\nip:127.0.0.1:r\r\n"}
    assert editor.post("/c/local/acl", wanted) == {"aversion": 1}
    assert len(zk.get_acl("/c").acl) == 2
    found = editor.post("/c/local/acl", wanted | {"acl": "world:anyone:r"}, 409)
    assert found["theirs"] == "world:anyone:cdrwa,ip:127.0.0.1:r"
    assert len(zk.get_acl("/c").acl) == 2
    assert "scheme:id" in editor.post("/c/local/acl", wanted | {"acl": "x"}, 400)["error"]


def test_create_and_delete(editor: Browser, zk: Client) -> None:
    zk.create("/p")
    made = editor.post("/c/local/create", {"parent": "/p", "name": "a", "content": "x\r\ny"})
    assert made == {"path": "/p/a"}
    assert zk.get("/p/a").data == b"x\ny"
    editor.post("/c/local/create", {"parent": "/p", "name": "a"}, 409)
    numbered = editor.post("/c/local/create", {"parent": "/p", "name": "s-", "mode": "sequential"})
    assert numbered["path"].startswith("/p/s-0")
    for wrong in (
        {"name": ""},
        {"name": "a/b"},
        {"name": "..", "mode": "persistent"},
        {"mode": "x"},
    ):
        editor.post("/c/local/create", {"parent": "/p", "name": "n", **wrong}, 400)
    asked = editor.get("/c/local/delete?path=/p")
    assert asked["count"] == 3
    zk.create("/p/more")
    sent = {"path": "/p", "count": asked["count"], "czxid": asked["czxid"]}
    again = editor.post("/c/local/delete", sent, 409)
    assert again["count"] == 4
    assert zk.exists("/p/more")
    assert editor.post("/c/local/delete", sent | {"count": 4}) == {"deleted": 4}
    with pytest.raises(NoNodeError):
        zk.get("/p")
    editor.post("/c/local/delete", {"path": "/", "count": 9, "czxid": 0}, 400)


def test_each_change_is_one_record(
    editor: Browser, zk: Client, caplog: pytest.LogCaptureFixture
) -> None:
    zk.create("/a", b"secret data")
    caplog.set_level(logging.INFO, AUDIT)
    fields = fields_of(editor, "/a") | {"content": "other secret"}
    editor.post("/c/local/save", fields)
    editor.post("/c/local/save", fields, 409)
    editor.post("/c/local/create", {"parent": "/a", "name": "line\u2028break"})
    editor.post("/c/local/create", {"parent": "/none", "name": "b"}, 404)
    editor.post("/c/local/delete", {"path": "/a", "count": 5, "czxid": fields["czxid"]})
    records = audit_of(caplog.records)
    assert [(r["operation"], r["result"]) for r in records] == [
        ("set", "done"),
        ("set", "conflict"),
        ("create", "done"),
        ("create", "NoNodeError"),
        ("delete", "done"),
    ]
    assert {(r["user"], r["cluster"], r["address"]) for r in records} == {
        ("ed", "local", "127.0.0.1")
    }
    assert records[-1]["deleted"] == 2
    assert all(
        line.isascii() and "\n" not in line and "secret" not in line
        for line in audit_lines(caplog.records)
    )
