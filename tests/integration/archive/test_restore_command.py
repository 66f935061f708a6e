"""``zoolet data restore --to-server``: the plan, the question, and what is written."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pytest
from click.testing import CliRunner, Result

from tests.support.terminal import Terminal
from tests.support.waiting import WAIT_S, wait_until
from zoolet.archive.commands import to_server
from zoolet.archive.commands.data_group import data
from zoolet.client import ACL, OPEN_ACL, Client, CreateMode, Id, ZnodeData
from zoolet.testing import EmbeddedServer

LOST = 10_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "server") as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.hosts) as connected:
        yield connected


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def zxid_of(client: Client) -> int:
    """Return the zxid of a change that is made now."""
    stat = client.set("/", b"")
    return stat.mzxid


class Moment(NamedTuple):
    """A state to restore: the data directory, the zxid, and the server."""

    directory: Path
    zxid: int
    hosts: str

    def restore(self, *more: object) -> Result:
        target = ("--as-of", hex(self.zxid), "--to-server", self.hosts)
        return run("restore", self.directory, *target, *more)


@pytest.fixture
def moment(tmp_path: Path, server: EmbeddedServer, client: Client) -> Moment:
    """A state with a few znodes, of which one was changed and another one deleted since then."""
    for path in ("/a", "/a/b", "/a/c"):
        client.create(path, b"old")
    client.create("/a/e", mode=CreateMode.EPHEMERAL)
    found = Moment(tmp_path / "server" / "data", zxid_of(client), server.hosts)
    client.delete("/a/b")
    client.set("/a/c", b"new")
    client.create("/a/d", b"new")
    client.delete("/a/e")
    return found


def test_a_dry_run_prints_the_plan_and_writes_nothing(moment: Moment, client: Client) -> None:
    result = moment.restore("--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"Plan for / on {moment.hosts}, as of zxid {moment.zxid:#x}:",
        "1 znode to create, 1 with other data, 0 with another ACL, 1 to delete",
        "1 znode: ephemeral of the state, not restored",
        "  create    /a/b",
        "  set data  /a/c",
        "  delete    /a/d",
        "  ephemeral of the state, not restored  /a/e",
    ]
    assert client.exists("/a/b") is None
    result = moment.restore("--dry-run", "--most-lines", "1")
    assert result.stdout.splitlines()[-2:] == ["  create    /a/b", "  ... and 3 more"]


def test_the_plan_as_json(moment: Moment) -> None:
    result = moment.restore("--dry-run", "--json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"step": "create", "path": "/a/b"},
        {"step": "set_data", "path": "/a/c", "version": 1},
        {"step": "delete", "path": "/a/d", "version": 0},
        {"step": "lost_ephemeral", "path": "/a/e"},
    ]


def test_an_interrupted_restore_tells_what_to_do(
    moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(to_server, "_write", interrupted)
    result = moment.restore("--yes")
    assert result.exit_code == 1
    assert "may have a part of the changes. Run the command again" in result.stderr


def test_without_a_terminal_it_writes_only_with_yes(moment: Moment, client: Client) -> None:
    result = moment.restore()
    assert result.exit_code == 1
    assert "nothing was written. Add --yes" in result.stderr
    assert client.exists("/a/b") is None
    result = moment.restore("--yes")
    assert result.exit_code == 0, result.output
    assert "3 of 3 changes and 0 of 0 sequence counters written" in result.stderr
    assert client.get("/a/c").data == b"old"
    assert client.exists("/a/d") is None
    result = moment.restore("--yes")
    assert result.exit_code == 0
    assert "0 znodes to create" in result.stdout


def test_a_counter_that_stays_low_is_a_failure(moment: Moment, client: Client) -> None:
    client.create("/a/many", b"")
    for _ in range(4):
        created = client.create("/a/many/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL).path
        client.delete(created)
    later = moment._replace(zxid=zxid_of(client))
    client.delete("/a/many")
    result = later.restore("--yes", "--most-counter-steps", "3")
    assert result.exit_code == 1
    assert "1 of 1 change and 0 of 1 sequence counter written" in result.stderr
    assert "A sequence counter is too low: see the plan." in result.stderr
    assert later.restore("--yes", "--most-counter-steps", "3").exit_code == 1
    assert later.restore("--yes").exit_code == 0
    created = client.create("/a/many/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL).path
    assert created >= "/a/many/n-0000000004"


def test_at_a_terminal_it_asks(moment: Moment, client: Client) -> None:
    """No connection is open meanwhile, so no session of the command can expire."""
    target = ("--as-of", hex(moment.zxid), "--to-server", moment.hosts)
    command = [sys.executable, "-m", "zoolet", "data", "restore", str(moment.directory), *target]
    for answer, status in (("n", 1), ("y", 0)):
        with Terminal(command, dict(os.environ)) as terminal:
            terminal.wait_for(r"Write these changes to .*\[y/N\]")
            assert client.exists("/a/b") is None
            terminal.enter(answer)
            assert terminal.wait_for_end() == status
    assert client.exists("/a/b") is not None


def test_a_lost_ensemble_and_a_missing_permission_are_said(moment: Moment, client: Client) -> None:
    client.add_auth("digest", "user:secret")
    client.set_acl("/a", (ACL(31, Id("auth", "")),))
    result = moment.restore("--yes")
    assert result.exit_code == 1
    assert "the server does not show /a and its ACL completely. Log in with --auth" in result.stderr
    assert moment.restore("--yes", "--auth", "digest:user:secret").exit_code == 0
    unused = moment._replace(hosts="127.0.0.1:1")
    result = unused.restore("--yes", "--connect-timeout-ms", "200")
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.stderr


def test_a_server_continues_with_the_counters_of_a_restored_subtree(
    tmp_path: Path, moment: Moment, client: Client
) -> None:
    """And with the sessions of its ephemerals."""
    client.create("/q")
    client.create("/beside")
    for _ in range(5):
        last = client.create("/q/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL).path
        client.delete(last)
    client.create("/q/e", mode=CreateMode.EPHEMERAL)
    zxid = zxid_of(client)
    target = ("--as-of", hex(zxid), "--to", tmp_path / "again" / "data", "--path", "/q")
    assert run("restore", moment.directory, *target).exit_code == 0
    with EmbeddedServer(tmp_path / "again") as again, Client(again.hosts) as other:
        assert set(other.children("/").names) == {"q", "zookeeper"}
        assert other.children("/q").names == ("e",)
        owned = other.get("/q/e").stat.ephemeral_owner
        assert owned == client.get("/q/e").stat.ephemeral_owner
        created = other.create("/q/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL).path
        assert created == "/q/n-0000000006"


class Bystander:
    """A client that goes on writing beside the restored subtree while others work.

    Attributes:
        written: the data that this client has written, by path.
    """

    def __init__(self, hosts: str) -> None:
        self.written: dict[str, bytes] = {}
        self._hosts = hosts
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.set()
        self._thread.join(WAIT_S)

    def wait_for_writes(self, count: int) -> None:
        """Return after some more writes."""
        before = len(self.written)
        wait_until(lambda: len(self.written) >= before + count, "writes beside the restore")

    def _run(self) -> None:
        number = 0
        with Client(self._hosts) as client:
            while not self._stops.is_set():
                path, content = f"/beside/{number}", str(number).encode()
                client.create(path, content)
                client.set("/beside", content)
                self.written |= {path: content, "/beside": content}
                number += 1


def subtree(client: Client, root: str) -> dict[str, tuple[ZnodeData, object]]:
    """Return all fields of all znodes of a subtree."""
    return {
        each.path: (ZnodeData(each.data, each.stat), each.acl) for each in client.read_subtree(root)
    }


def archive(server_directory: Path, folder: Path) -> None:
    """Archive everything that the server has written until now."""
    source = ("--from-dir", server_directory / "data", "--to", folder, "--once")
    subprocess.run(
        [sys.executable, "-m", "zoolet", "archive", *source],
        check=True,
        capture_output=True,
        timeout=WAIT_S,
    )


def test_ten_thousand_znodes_deleted_by_mistake_come_back(
    tmp_path: Path, server: EmbeddedServer, client: Client
) -> None:
    """Other clients go on writing meanwhile. Nothing else changes, in any field."""
    acl = (ACL(1, Id("world", "anyone")), ACL(31, Id("ip", "127.0.0.1")))
    for path in ("/shop", "/shop/orders", "/other", "/beside"):
        client.create(path, path.encode())
    futures = [
        client.futures.create(
            f"/shop/orders/order-{number % 7}-",
            str(number).encode(),
            mode=CreateMode.PERSISTENT_SEQUENTIAL,
            acl=acl,
        )
        for number in range(LOST - 1)
    ]
    for future in futures:
        future.result()
    for number in range(20):
        client.create(f"/other/{number}", mode=CreateMode.PERSISTENT_SEQUENTIAL)
    lost = {
        visited.path: visited.found.data
        for visited in client.walk("/shop/orders", with_data=True)
        if visited.found is not None
    }
    others, above = subtree(client, "/other"), client.get("/shop")
    assert len(lost) == LOST
    with Bystander(server.hosts) as bystander:
        bystander.wait_for_writes(3)
        assert client.delete_recursive("/shop/orders") == LOST
        bystander.wait_for_writes(3)
        archive(tmp_path / "server", tmp_path / "archive")
        source = tmp_path / "archive"
        history = run("history", source, "/shop/orders", "--recursive")
        changes = [json.loads(line) for line in history.stdout.splitlines()]
        first = next(change for change in changes if change["type"] == "Delete")
        before = int(first["zxid"], 16) - 1
        target = ("--as-of", hex(before), "--to-server", server.hosts, "--path", "/shop/orders")
        result = run("restore", source, *target, "--yes")
        assert result.exit_code == 0, result.output
        assert f"{LOST} of {LOST} changes and 1 of 1 sequence counter written" in result.stderr
        bystander.wait_for_writes(3)
    orders = subtree(client, "/shop/orders")
    assert {path: (found.data, its_acl) for path, (found, its_acl) in orders.items()} == {
        path: (content, OPEN_ACL if path == "/shop/orders" else acl)
        for path, content in lost.items()
    }
    assert subtree(client, "/other") == others
    now = client.get("/shop")
    assert now.data == above.data
    assert now.stat[:5] == above.stat[:5]  # only its children have changed
    beside = subtree(client, "/beside")
    assert {path: found.data for path, (found, _) in beside.items()} == bystander.written
    last = client.create("/shop/orders/order-", mode=CreateMode.PERSISTENT_SEQUENTIAL).path
    assert int(last[-10:]) >= LOST - 1


def test_a_refused_login_names_the_option(moment: Moment) -> None:
    done = moment.restore("--yes", "--auth", "unknown:ann:secret")
    assert done.exit_code == 1
    assert "the server refuses the login: check the scheme and the secret of --auth" in done.output


def test_a_change_that_the_acl_does_not_permit_is_told(moment: Moment, client: Client) -> None:
    without_create = (ACL(1 | 2 | 16, Id("world", "anyone")),)
    client.set_acl("/a", without_create)
    done = moment.restore("--yes")
    assert done.exit_code == 1
    reason = "the ACL of its parent does not permit it: log in with --auth"
    assert f"not done: create  /a/b: {reason}" in done.output
    assert f"not done: delete  /a/d: {reason}" in done.output
    assert client.get("/a/c").data == b"old"


def test_a_znode_that_is_too_long_for_the_server_is_named(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "source") as source, Client(source.hosts) as client:
        client.create("/large", b"x" * 50_000)
        zxid = zxid_of(client)
    with EmbeddedServer(settings={"jute.maxbuffer": 20_000}) as small:
        done = Moment(tmp_path / "source" / "data", zxid, small.hosts).restore("--yes")
    assert done.exit_code == 1
    assert "If the connection is lost at /large again, the data of this znode may be too long" in (
        done.output
    )
