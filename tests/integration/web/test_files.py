"""Exports and imports: the file, its checks, its limits, and what an import says first."""

import asyncio
import json
import os
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until
from tests.support.web import JSON, Browser, browsing, settings_of, users_file
from tests.support.web_operations import ended, url_of
from zoolet.client import ACL, Client, CreateMode, Id, Permission
from zoolet.model.acl import OPEN_ACL
from zoolet.testing import EmbeddedServer
from zoolet.web.access.users import Role
from zoolet.web.access.visitors import Visitor
from zoolet.web.operations import uploads
from zoolet.web.operations.operation import OperationError
from zoolet.web.operations.registry import TooManyOperationsError
from zoolet.web.operations.uploads import Uploads
from zoolet.web.pages import files

READ_ONLY = (ACL(int(Permission.READ | Permission.ADMIN), Id("world", "anyone")),)


@pytest.fixture
def web(server: EmbeddedServer, tmp_path: Path) -> Iterator[Browser]:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    with browsing(settings) as browser:
        yield browser.log_in("ed")


def upload(web: Browser, content: bytes, path: str, status: int = 200) -> Any:
    headers = {**JSON, "X-CSRF-Token": web.get("/login")["csrf"]}
    answer = web.client.post(url_of("upload", path=path), content=content, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def imported(web: Browser, content: bytes, path: str, **options: str) -> dict[str, Any]:
    page = upload(web, content, path)["page"]
    return ended(web, web.post(page, options)["page"])


def export(web: Browser, path: str, **options: str) -> bytes:
    answer = web.client.get(url_of("export", path=path, **options))
    assert answer.status_code == 200, answer.text
    return answer.content


def lines_of(root: str, *paths: str) -> bytes:
    stat = dict.fromkeys(["czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion"], 0)
    stat |= {"ephemeral_owner": 0, "data_length": 0, "num_children": 0, "pzxid": 0}
    acl = [{"perms": 31, "scheme": "world", "id": "anyone"}]
    lines: list[dict[str, Any]] = [{"zoolet_export": 1, "zxid": "0x1", "root": root}]
    lines += [{"path": path, "data": "x", "acl": acl, "stat": stat, "created": 0} for path in paths]
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def test_an_export_is_what_the_shell_exports_and_can_be_imported(web: Browser, zk: Client) -> None:
    zk.create("/a", b"\xff\x00")
    zk.create("/a/b", None, acl=READ_ONLY)
    zk.create("/a/c", "\u202e<b>\x1b".encode())
    answer = web.client.get(url_of("export", path="/a"))
    assert answer.headers["content-disposition"] == 'attachment; filename="local-a.jsonl"'
    znodes = [json.loads(line) for line in zk.export_lines("/a")][1:]
    assert [json.loads(line) for line in answer.text.splitlines()][1:] == znodes
    asked = web.get(upload(web, answer.content, "/t")["page"])
    assert (asked["count"], asked["ephemerals"], asked["problem"]) == (3, 0, "")
    assert asked["first_paths"] == ["/t", "/t/b", "/t/c"]
    found = imported(web, answer.content, "/t")
    assert (found["state"], found["result"]["created"]) == ("done", 3)
    assert zk.get("/t").data == b"\xff\x00"
    assert zk.get("/t/b").data is None
    assert zk.get_acl("/t/b").acl == READ_ONLY
    assert zk.get_acl("/a/b").acl == READ_ONLY


def test_a_large_export_is_sent_in_parts(web: Browser, zk: Client) -> None:
    zk.create("/a")
    for number in range(30):
        zk.create(f"/a/n{number}", random.Random(number).randbytes(60_000))
    content = export(web, "/a")
    assert len(content) > 30 * 60_000
    assert len(content.splitlines()) == 32
    operation = web.get("/c/local/operations")["operations"][0]
    assert (operation["kind"], operation["state"], operation["done"]) == ("export", "done", 31)


def test_an_export_that_fails_at_its_start_is_a_page(web: Browser, zk: Client) -> None:
    zk.create("/a", acl=(ACL(int(Permission.ADMIN), Id("world", "anyone")),))
    assert web.get(url_of("export", path="/none"), 404)["error"]
    assert web.get(url_of("export", path="/a"), 403)["error"]
    web.get(url_of("export", path="a"), 400)
    zk.delete("/a")


def test_an_export_that_fails_in_the_middle_is_not_complete(web: Browser, zk: Client) -> None:
    closed = (ACL(int(Permission.ADMIN), Id("world", "anyone")),)
    zk.create("/a")
    for number in range(50):
        zk.create(f"/a/n{number:02}", b"x" * 100_000)
    zk.set_acl("/a/n40", closed)
    content = export(web, "/a")
    assert b"/a/n40" not in content
    assert content.count(b"\n") < 42
    found = web.get("/c/local/operations")["operations"][0]
    assert (found["state"], "/a/n40" in found["error"]) == ("failed", True)
    zk.set_acl("/a/n40", OPEN_ACL)


def test_a_browser_that_does_not_read_ends_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SEND_TIMEOUT_S", 0.01)

    async def run() -> None:
        pipe = files._Pipe()
        for _ in range(files._CHUNKS_AHEAD):
            await pipe._put(["line"])
        with pytest.raises(OperationError, match="does not read"):
            await pipe._put(["line"])

    asyncio.run(run())


def test_an_import_over_existing_znodes(web: Browser, zk: Client) -> None:
    zk.create("/t", b"old")
    content = lines_of("/a", "/a", "/a/b")
    page = upload(web, content, "/t")["page"]
    asked = web.get(page)
    assert (asked["target_count"], "exists already" in asked["problem"]) == (1, True)
    failed = ended(web, web.post(page, {})["page"])
    assert "Nothing was written." in failed["error"]
    web.post(page, {}, 404)
    assert imported(web, content, "/t", replaces="yes")["result"]["overwritten"] == 1
    assert zk.get("/t").data == b"x"


def test_lines_in_a_form(web: Browser, zk: Client) -> None:
    lines = lines_of("/a", "/a", "/a/b").decode().replace("\n", "\r\n")
    page = web.post("/c/local/import", {"path": "/t", "lines": lines})["page"]
    assert "Import 2 to local" in web.html(page)
    assert ended(web, web.post(page, {})["page"])["state"] == "done"
    assert zk.count_descendants("/t") == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "line 1"),
        (b"nonsense", "line 1"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 100_000, "line 1"),
        (lines_of("/a"), "no znodes"),
        (lines_of("/a", "/a", "/b"), "line 3"),
        (lines_of("/a", "/ab"), "line 2"),
        (lines_of("/a", "/a/../../zookeeper"), "line 2"),
        (lines_of("/a", "a"), "line 2"),
        (lines_of("a", "a"), "line 1"),
        (lines_of("/a", "/a") + b'{"path": "/a/b"}\n', "line 3"),
        (lines_of("/a", "/a") + b"x" * (8 << 20) + b"xx", "line 3: the line has more than"),
    ],
)
def test_a_file_that_is_no_export_is_refused(
    web: Browser, zk: Client, content: bytes, text: str
) -> None:
    found = upload(web, content, "/t", 400)
    assert text in found["error"]
    assert "/tmp" not in found["error"]
    assert zk.exists("/t") is None


def test_a_parent_that_is_missing_is_an_error_that_says_what_was_written(
    web: Browser, zk: Client
) -> None:
    found = imported(web, lines_of("/a", "/a", "/a/b/c"), "/t")
    assert (found["state"], "Nothing was written." in found["error"]) == ("failed", True)
    assert zk.exists("/t") is None


def test_the_size_is_limited(web: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    content = lines_of("/a", "/a")
    for module in (uploads, files):
        monkeypatch.setattr(module, "MOST_BYTES", len(content))
    upload(web, content, "/t")
    assert "larger" in upload(web, content + b"\n", "/t", 413)["error"]

    def parts() -> Iterator[bytes]:
        yield content
        yield b"\n"

    headers = {**JSON, "X-CSRF-Token": web.get("/login")["csrf"]}
    answer = web.client.post(url_of("upload", path="/t"), content=parts(), headers=headers)
    assert answer.status_code == 413


def test_who_may_import(web: Browser, zk: Client) -> None:
    content = lines_of("/a", "/a")
    page = upload(web, content, "/t")["page"]
    for token in ({}, {"X-CSRF-Token": "0" * 64}):
        answer = web.client.post(
            url_of("upload", path="/t"), content=content, headers={**JSON, **token}
        )
        assert answer.status_code == 403
    upload(web.log_in("vi"), content, "/t", 403)
    web.post("/c/local/import", {"path": "/t", "lines": "x"}, 403)
    web.post(page, {}, 403)
    web.get(page, 404)
    web.log_in("ed")
    web.get(page, 404)  # the login that has sent the file has ended
    assert zk.exists("/t") is None


def test_files_end_with_their_time_and_their_number() -> None:
    now_s = 0.0
    visitors = [Visitor("", Role.EDITOR, "127.0.0.1", False, token, "") for token in "abcdefgh"]

    async def chunks() -> AsyncIterator[bytes]:
        yield lines_of("/a", "/a")

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def run() -> None:
        nonlocal now_s
        kept = Uploads(lambda: now_s)
        first = [await kept.receive(visitors[0], "c", "/t", chunks()) for _ in range(3)]
        assert not first[0].file.exists()
        assert kept.find(visitors[0], "c", first[2].id) is first[2]
        assert kept.find(visitors[1], "c", first[2].id) is None
        assert kept.find(visitors[0], "d", first[2].id) is None
        for visitor in visitors[1:4]:
            for _ in range(2):
                await kept.receive(visitor, "c", "/t", chunks())
        with pytest.raises(TooManyOperationsError):
            await kept.receive(visitors[5], "c", "/t", chunks())
        kept.end(visitors[1].owner[1])
        kept.end(visitors[2].owner[1])
        tasks = [
            asyncio.create_task(kept.receive(visitors[5], "c", "/t", never())) for _ in range(2)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyOperationsError):
            await kept.receive(visitors[5], "c", "/t", chunks())
        now_s = uploads.KEPT_S + 1
        kept.forget_old()
        assert not first[2].file.exists()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert list(first[2].file.parent.iterdir()) == []
        kept.close()
        assert not first[2].file.parent.exists()

    asyncio.run(run())


def test_a_full_disk(web: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def full(path: Path, flags: int, mode: int = 0o777) -> int:
        """Open a device without room, in place of a new file of the page."""
        return real("/dev/full" if "zoolet-web-" in str(path) else path, flags & ~os.O_EXCL, mode)

    content = lines_of("/a", "/a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        for more in (b"", b"\n" * (2 << 20)):
            error = upload(web, content + more, "/t", 507)["error"]
            assert "the disk of the page is full: make room in " in error
            assert "TMPDIR" in error
    assert upload(web, content, "/t")["znodes"] == 1


def test_another_program_deletes_the_directory_of_files(web: Browser) -> None:
    content = lines_of("/a", "/a")
    page = upload(web, content, "/t")["page"]
    directory = web.client.app.state.site.uploads._directory.name  # type: ignore[attr-defined]
    shutil.rmtree(directory)
    found = ended(web, web.post(page, {})["page"])
    assert found["state"] == "failed"
    assert imported(web, content, "/t")["state"] == "done"


def test_a_login_that_ends_during_an_upload_leaves_no_file() -> None:
    async def run() -> None:
        kept = Uploads()
        visitor = Visitor("", Role.EDITOR, "127.0.0.1", False, "a", "")

        async def chunks() -> AsyncIterator[bytes]:
            yield lines_of("/a", "/a")
            kept.end(visitor.owner[1])

        with pytest.raises((OperationError, OSError)):
            await kept.receive(visitor, "c", "/t", chunks())
        assert kept._uploads == {}
        directory = kept._directory
        assert directory is not None
        assert list(Path(directory.name).iterdir()) == []
        kept.close()

    asyncio.run(run())


def test_a_file_that_stops_coming_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "CHUNK_TIMEOUT_S", 0.01)

    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async def run() -> None:
        kept = Uploads()
        visitor = Visitor("", Role.EDITOR, "127.0.0.1", False, "a", "")
        with pytest.raises(TimeoutError):
            await kept.receive(visitor, "c", "/t", never())
        assert kept._uploads == {}
        kept.close()

    asyncio.run(run())


@pytest.mark.usefixtures("zk")
def test_an_imported_file_is_deleted(web: Browser) -> None:
    site = web.client.app.state.site  # type: ignore[attr-defined]
    imported(web, lines_of("/a", "/a"), "/t")
    site.end_idle()
    wait_until(lambda: site.uploads._uploads == {}, "the file is deleted")


def test_ephemerals_of_a_file(web: Browser, zk: Client) -> None:
    zk.create("/a")
    zk.create("/a/e", b"", mode=CreateMode.EPHEMERAL)
    content = export(web, "/a")
    assert web.get(upload(web, content, "/t")["page"])["ephemerals"] == 1
    assert imported(web, content, "/t")["result"]["left_out"] == 1
    assert imported(web, content, "/u", ephemerals="yes")["result"]["created"] == 2


@pytest.mark.parametrize("name", ["<img src=x>", "\u202ertl", 'quo"te\\', "a&b=c#d?e%41 +;x"])
def test_hostile_names(web: Browser, zk: Client, name: str) -> None:
    zk.create(f"/{name}")
    answer = web.client.get(url_of("export", path=f"/{name}"))
    assert answer.headers["content-disposition"].isascii()
    assert answer.headers["content-disposition"].count('"') == 2
    page = upload(web, lines_of("/a", "/a", f"/a/{name}"), f"/{name}2")["page"]
    assert "<img" not in web.html(page)
    assert ended(web, web.post(page, {})["page"])["state"] == "done"
    assert zk.exists(f"/{name}2/{name}")
