"""Exports and imports, and copies between servers, on zoolet and on Apache ZooKeeper."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.support.shell import Ran, fill, printed, ran, run_shell
from zoolet.client import FutureRequests, Multi
from zoolet.client.kazoo import create
from zoolet.model.codes import CreateMode, OpCode
from zoolet.testing import ServerProcess
from zoolet.testing.servers.process import ExternalServer


@pytest.mark.usefixtures("kazoo")
def test_between_servers(any_server: ExternalServer, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "other") as other:
        there = f"{other.hosts}/t"
        assert printed(any_server, "cp", "/s", there) == f"Copied 5 znodes from /s to {there}\n"
        assert ran(any_server, "diff", "/s", there) == Ran(0, "", "")
        assert printed(any_server, "mv", there, "/t") == f"Moved 5 znodes from {there} to /t\n"
        assert run_shell(other.hosts, "ls", "/").out == "[zookeeper]\n"
        assert ran(any_server, "diff", "/s", "/t") == Ran(0, "", "")
        printed(any_server, "cp", "/", f"{other.hosts}/all")
        assert run_shell(other.hosts, "ls", "/all").out == "[s, t]\n"
    found = run_shell(any_server.hosts, "cp", "/s", there, options=("-timeout", "2000"))
    assert (found.status, found.out) == (1, "")
    assert f"no ZooKeeper server answers at {other.hosts}" in found.err


def test_exports_and_imports(any_server: ExternalServer, kazoo: Any, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    assert printed(any_server, "export", "/s", str(file)) == f"Exported 5 znodes of /s to {file}\n"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["root"] == "/s"
    assert lines[1]["created"] == 3
    streamed = printed(any_server, "export", "/s").splitlines()
    assert streamed[1:] == file.read_text().splitlines()[1:]
    found = ran(any_server, "export", "/s", str(file))
    assert "exists already" in found.err
    assert printed(any_server, "import", str(file), "/t") == (
        f"Imported 5 znodes from {file} to /t\n"
    )
    assert ran(any_server, "diff", "/s", "/t") == Ran(0, "", "")
    assert "Node already exists: /t; nothing" in ran(any_server, "import", str(file), "/t").err
    kazoo.set("/t/a", b"other")
    printed(any_server, "import", "-f", str(file), "/t")
    assert ran(any_server, "diff", "/s", "/t") == Ran(0, "", "")
    assert [path.name for path in tmp_path.glob("*.unfinished")] == []


@pytest.mark.usefixtures("kazoo")
def test_an_import_of_everything(any_server: ExternalServer, tmp_path: Path) -> None:
    file = tmp_path / "all"
    printed(any_server, "export", "/", str(file))
    printed(any_server, "deleteall", "/s")
    printed(any_server, "import", str(file), "/")
    assert printed(any_server, "get", "/s/a") == '{"k": 1}\n'
    assert printed(any_server, "ls", "/") == "[s, zookeeper]\n"


def test_an_import_reads_all_before_it_writes(
    any_server: ExternalServer, kazoo: Any, tmp_path: Path
) -> None:
    file = tmp_path / "export"
    printed(any_server, "export", "/s", str(file))
    whole = file.read_text()
    for damaged, number in ((whole + "{}\n", 7), (whole[:-30], 6), ("", 1), (whole[5:], 1)):
        file.write_text(damaged)
        found = ran(any_server, "import", str(file), "/t")
        assert f"{file}:{number}: this is not a line of an export" in found.err
        assert kazoo.exists("/t") is None
    file.write_bytes(b"\xff")
    assert "cannot be read" in ran(any_server, "import", str(file), "/t").err
    assert "cannot be read" in ran(any_server, "import", str(tmp_path / "none"), "/t").err


def test_an_import_that_is_refused_says_what_was_written(
    any_server: ExternalServer, kazoo: Any, tmp_path: Path
) -> None:
    fill(kazoo, "/s/many", 600)
    kazoo.create("/s/zz", b"")
    file = tmp_path / "export"
    printed(any_server, "export", "/s", str(file))
    kazoo.create("/t")
    kazoo.create("/t/zz")
    text = file.read_text().splitlines()
    file.write_text("\n".join([text[0], *text[2:], ""]))  # all but /s itself
    found = ran(any_server, "import", str(file), "/t")
    assert found.err == "Node already exists: /t/zz; 500 znodes had been written\n"
    assert len(kazoo.get_children("/t/many")) == 496


def test_containers_and_ttls_of_a_data_export_come_back(
    any_server: ExternalServer, kazoo: Any, tmp_path: Path
) -> None:
    create(kazoo, "/s/box", b"", CreateMode.CONTAINER)
    file = tmp_path / "export"
    printed(any_server, "export", "/s", str(file))
    lines = file.read_text().splitlines()
    owned = [json.loads(line) for line in lines]
    for line in owned[1:]:
        if line["path"] == "/s/box":
            line["stat"]["ephemeral_owner"] = -(1 << 63)
        if line["path"] == "/s/null":
            line["stat"]["ephemeral_owner"] = -(1 << 56) + 60_000
    file.write_text("".join(f"{json.dumps(line)}\n" for line in owned))
    sent: list[int] = []
    send = FutureRequests.multi

    def noting(requests: FutureRequests, batch: Multi) -> Any:
        sent.extend(op_code for op_code, _ in batch.parts)
        return send(requests, batch)

    with mock.patch.object(FutureRequests, "multi", noting):
        printed(any_server, "import", str(file), "/t")
    assert set(sent) == {OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL, OpCode.CREATE2}
    assert kazoo.exists("/t/box") is not None
