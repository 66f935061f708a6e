"""Work on whole subtrees with both clients: what it does, what it refuses, and what it leaves."""

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.async_clients import on_loops, started
from tests.support.loops import RunOnLoop
from zoolet.client import (
    ACL,
    AsyncClient,
    BadVersionError,
    Client,
    ConnectionLossError,
    CreateMode,
    ExportError,
    HiddenAclError,
    Id,
    MovedEphemeralError,
    Multi,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    Permission,
    Transferred,
)
from zoolet.client.thread_client.interruption import Uninterrupted
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.process.interrupts import SecondInterrupt
from zoolet.testing import EmbeddedServer

CLOSED = (ACL(int(Permission.ALL & ~Permission.READ), Id("world", "anyone")),)
PATHS = ["/s", "/s/a", "/s/a/deep", "/s/b", "/s/c"]


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def client(embedded: EmbeddedServer) -> Iterator[Client]:
    """A client of a server with the subtree ``PATHS``."""
    with Client(embedded.hosts) as connected:
        for path in PATHS:
            connected.create(path, path.encode())
        yield connected


def fill(client: Client, root: str, count: int) -> None:
    client.create(root)
    for future in [client.futures.create(f"{root}/n{number:05d}") for number in range(count)]:
        future.result()


def walked(client: Client, root: str, **options: Any) -> list[str]:
    return [visited.path for visited in client.walk(root, **options)]


def test_a_walk_visits_parents_before_children_in_order(client: Client) -> None:
    assert walked(client, "/s") == PATHS
    assert walked(client, "/s", max_depth=1) == ["/s", "/s/a", "/s/b", "/s/c"]
    assert walked(client, "/s", max_depth=0) == ["/s"]
    visited = next(client.walk("/s", with_data=True))
    assert visited.names == ("a", "b", "c")
    assert visited.found is not None
    assert visited.found.data == b"/s"
    with pytest.raises(NoNodeError):
        walked(client, "/missing")


@pytest.mark.parametrize("has_multi_read", [True, False])
def test_a_walk_tells_of_znodes_that_it_may_not_read(
    client: Client, embedded: EmbeddedServer, *, has_multi_read: bool
) -> None:
    """Servers before 3.6 have no multiRead."""
    if not has_multi_read:
        embedded.faults.on(OpCode.MULTI_READ).answer(ErrorCode.UNIMPLEMENTED)
    client.set_acl("/s/a", CLOSED)
    for with_data in (False, True):
        with pytest.raises(NoAuthError, match="/s/a"):
            walked(client, "/s", with_data=with_data)
        refused: list[NoAuthError] = []
        found = walked(client, "/s", with_data=with_data, on_refused=refused.append)
        assert found == ["/s", "/s/b", "/s/c"]
        assert [error.path for error in refused] == ["/s/a"]


@pytest.mark.parametrize("has_multi_read", [True, False])
def test_a_walk_sees_every_znode_of_any_shape(
    client: Client, embedded: EmbeddedServer, *, has_multi_read: bool
) -> None:
    if not has_multi_read:
        embedded.faults.on(OpCode.MULTI_READ).answer(ErrorCode.UNIMPLEMENTED)
    expected = ["/w"]
    client.create("/w")
    for wide in range(120):
        path = f"/w/{wide:03d}"
        expected.append(path)
        for deep in range(wide % 7):
            path += f"/{deep}"
            expected.append(path)
    for future in [client.futures.create(path, b"x") for path in expected[1:]]:
        future.result()
    assert walked(client, "/w") == expected
    assert walked(client, "/w", with_data=True) == expected
    assert walked(client, "/w", max_depth=2) == [path for path in expected if path.count("/") < 4]
    requests = embedded.inside.requests(client.session_id.id)
    reads = [request for request in requests if request.op_code is OpCode.MULTI_READ]
    assert len(reads) < 60


def test_a_walk_of_a_long_list_is_in_order(client: Client) -> None:
    numbers = list(range(25_000))
    random.Random(7).shuffle(numbers)
    client.create("/long")
    for start in range(0, len(numbers), 1000):
        multi = Multi()
        for number in numbers[start : start + 1000]:
            multi.create(f"/long/n{number:05}", b"")
        client.multi(multi)
    client.create("/long/n10000/child")
    expected = [f"/long/n{number:05}" for number in range(25_000)]
    expected.insert(10_001, "/long/n10000/child")
    assert walked(client, "/long") == ["/long", *expected]


def test_a_walk_that_is_not_finished_leaves_nothing(client: Client) -> None:
    fill(client, "/many", 2000)
    walk = client.walk("/many")
    assert next(walk).path == "/many"
    assert next(walk).path == "/many/n00000"
    walk.close()  # type: ignore[attr-defined]
    assert walked(client, "/s") == PATHS
    assert not client._engine.session.has_outstanding


def test_a_copy_has_the_data_and_the_acls(client: Client) -> None:
    client.create("/s/mine", mode=CreateMode.EPHEMERAL)
    client.set_acl("/s/b", CLOSED)
    with pytest.raises(NoAuthError):
        client.copy_subtree("/s", "/t")
    client.set_acl("/s/b", (ACL(int(Permission.READ), Id("world", "anyone")),))
    reports: list[Transferred] = []
    done = client.copy_subtree("/s", "/t", progress=reports.append)
    assert done == Transferred(created=5, left_out=1, is_copied=True)
    assert reports[-1] == done
    assert walked(client, "/t") == [path.replace("/s", "/t") for path in PATHS]
    assert client.get("/t/a/deep").data == b"/s/a/deep"
    assert client.get_acl("/t/b").acl == client.get_acl("/s/b").acl
    with pytest.raises(NodeExistsError):
        client.copy_subtree("/s", "/t")
    assert client.copy_subtree("/s", "/u", with_acl=False, keeps_ephemerals=True).created == 6
    assert client.get_acl("/u/b").acl != client.get_acl("/s/b").acl
    with pytest.raises(ValueError, match="inside"):
        client.copy_subtree("/s", "/s/a/t")


def test_an_import_without_acls_makes_open_znodes(client: Client, tmp_path: Path) -> None:
    client.set_acl("/s/b", (ACL(int(Permission.READ), Id("world", "anyone")),))
    file = tmp_path / "export"
    assert client.export_subtree("/s", file) == 5
    assert client.import_subtree(file, "/t", with_acl=False).created == 5
    assert client.get_acl("/t/b").acl == client.get_acl("/s").acl
    assert client.import_subtree(file, "/u").created == 5
    assert client.get_acl("/u/b").acl == client.get_acl("/s/b").acl
    with pytest.raises(FileExistsError):
        client.export_subtree("/s", file)
    file.write_text(f"{file.read_text()}nonsense\n")
    with pytest.raises(ExportError, match="export:7"):
        client.import_subtree(file, "/v")
    assert client.exists("/v") is None


def test_a_hidden_acl_is_not_copied(client: Client, tmp_path: Path) -> None:
    secret = ACL(int(Permission.ALL), Id("digest", "ann:x1c9rdOBqVTTbzQ4nyLGFnEcnCE="))
    client.create("/s/guarded", acl=(secret, ACL(int(Permission.READ), Id("world", "anyone"))))
    for transfer in (
        lambda: client.copy_subtree("/s", "/t"),
        lambda: client.move_subtree("/s", "/t"),
        lambda: client.export_subtree("/s", tmp_path / "export"),
    ):
        with pytest.raises(HiddenAclError, match="/s/guarded"):
            transfer()
    assert list(tmp_path.iterdir()) == []
    assert client.exists("/t") is None


def test_a_move_is_one_txn_or_refused(client: Client) -> None:
    mine = client.create("/s/mine", mode=CreateMode.EPHEMERAL).path
    with pytest.raises(MovedEphemeralError, match=mine):
        client.move_subtree("/s", "/t")
    client.delete(mine)
    done = client.move_subtree("/s", "/t")
    assert done == Transferred(created=5, is_copied=True, deleted=5)
    assert client.exists("/s") is None
    stats = [client.exists(path.replace("/s", "/t")) for path in PATHS]
    assert len({stat.czxid for stat in stats if stat is not None}) == 1


def test_a_large_move_keeps_what_others_change_meanwhile(client: Client) -> None:
    fill(client, "/many", 1200)
    reports: list[Transferred] = []

    def change(done: Transferred) -> None:
        reports.append(done)
        if done.is_copied and not done.deleted:
            client.futures.set("/many/n00600", b"newer")

    with pytest.raises(BadVersionError, match="/many/n00600"):
        client.move_subtree("/many", "/moved", progress=change)
    assert client.get("/many/n00600").data == b"newer"
    assert client.count_descendants("/moved") == 1200
    assert reports[-1].written == 1201
    assert client.count_descendants("/many") == 1200 - reports[-1].deleted
    assert 0 < reports[-1].deleted < 1200


def test_a_transfer_between_servers(client: Client) -> None:
    with EmbeddedServer() as server, Client(server.hosts) as other:
        client.copy_subtree("/s", "/t", to=other)
        assert client.exists("/t") is None
        other.move_subtree("/t", "/u", to=client)
        assert other.exists("/t") is None
        assert client.count_descendants("/u") == 4
        everything = client.copy_subtree("/", "/all", to=other)
        assert everything.created == 11
        assert other.exists("/all/zookeeper") is None


@pytest.mark.parametrize(
    ("chroots", "source", "target"),
    [
        (("", ""), "/s", "/s/a/x"),
        (("", "/s/a"), "/s", "/x"),
        (("", "/s"), "/s", "/a/x"),
        (("/s", ""), "/a", "/s/a/x"),
        (("/s", "/s/a"), "/", "/x"),
        (("", ""), "/", "/x"),
        (("", "/s"), "/", "/a/x"),
    ],
)
def test_a_target_inside_the_source_is_refused_for_two_clients_of_a_server(
    client: Client, embedded: EmbeddedServer, chroots: tuple[str, str], source: str, target: str
) -> None:
    before = walked(client, "/")
    with Client(embedded.hosts + chroots[0]) as one, Client(embedded.hosts + chroots[1]) as other:
        for transfer in (one.copy_subtree, one.move_subtree):
            with pytest.raises(ValueError, match="would never end"):
                transfer(source, target, to=other)
    assert walked(client, "/") == before


@pytest.mark.parametrize("path", ["/", "/s"])
def test_a_server_with_the_same_history_is_another_server(client: Client, path: str) -> None:
    with EmbeddedServer() as server, Client(server.hosts) as other:
        for each in PATHS:
            other.create(each, each.encode())
        assert client.exists("/") == other.exists("/")
        assert client.copy_subtree(path, "/s/x", to=other).created == 6 - (path == "/s")


def test_a_lost_reply_is_an_error_with_the_number_of_written_znodes(
    client: Client, embedded: EmbeddedServer
) -> None:
    fill(client, "/many", 1200)
    with embedded.faults.on(OpCode.MULTI).drop_reply() as fault:
        reports = [Transferred()]
        with pytest.raises(ConnectionLossError):
            client.copy_subtree("/many", "/copy", progress=reports.append)
    assert fault.count == 1
    assert reports[-1] == Transferred()
    assert client.count_descendants("/copy") == 499


def test_deleting_while_others_create_and_delete(client: Client, embedded: EmbeddedServer) -> None:
    fill(client, "/many", 300)
    with Client(embedded.hosts) as other:

        def meddle(count: int) -> None:
            if count == 10:
                other.create("/many/new")
                other.delete("/many/n00000")

        assert client.delete_recursive("/many", batch_size=10, progress=meddle) == 301
    assert client.exists("/many") is None
    with pytest.raises(NoNodeError):
        client.delete_recursive("/many")


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_waits_for_the_replies(
    client: Client, monkeypatch: pytest.MonkeyPatch, presses: int
) -> None:
    fill(client, "/many", 1200)
    wait: Callable[..., Any] = Uninterrupted.result_of
    waits = 0

    def interrupted(*args: Any) -> Any:
        nonlocal waits
        waits += 1
        if waits == 2:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)
        return wait(*args)

    monkeypatch.setattr(Uninterrupted, "result_of", interrupted)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reports = [Transferred()]
    with pytest.raises(KeyboardInterrupt) as caught:
        client.copy_subtree("/many", "/copy", progress=reports.append)
    assert isinstance(caught.value, SecondInterrupt) is (presses == 2)
    written = client.count_descendants("/copy") + 1
    if presses == 1:
        assert written == reports[-1].written
    else:
        assert written >= reports[-1].written


def test_a_function_is_not_called_any_more(client: Client, embedded: EmbeddedServer) -> None:
    calls: list[object] = []
    others: list[object] = []
    client.get("/s", watch=calls.append)
    client.add_watch("/s", calls.append)
    client.add_watch("/s", others.append)
    client.forget_watch("/s", calls.append)
    client.set("/s", b"changed")
    assert (calls, len(others)) == ([], 1)
    client.forget_watch("/s", others.append)
    client.set("/s", b"again")
    client.sync("/s")
    assert (calls, len(others)) == ([], 1)
    assert len(client._engine.session.watches) == 0
    assert embedded.inside.watches() == []


@on_loops
def test_the_same_with_asyncio(run: RunOnLoop, embedded: EmbeddedServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(embedded.hosts) as client, AsyncClient(embedded.hosts) as other:
            for path in PATHS:
                await client.create(path, path.encode())
            await client.set_acl("/s/c", CLOSED)
            refused: list[str] = []
            walk = client.walk("/s", on_refused=lambda error: refused.append(error.path))
            assert [visited.path async for visited in walk] == PATHS[:-1]
            assert refused == ["/s/c"]
            await client.delete("/s/c")
            async for visited in client.walk("/s", with_data=True):
                assert visited.found is not None
                break
            assert (await client.copy_subtree("/s", "/t", to=other)).created == 4
            assert (await client.move_subtree("/t", "/u")).deleted == 4
            file = tmp_path / "export"
            assert await client.export_subtree("/u", file) == 4
            assert (await client.import_subtree(file, "/v")).created == 4
            read = [znode.data async for znode in client.read_subtree("/v")]
            assert read == [path.encode() for path in PATHS[:-1]]
            assert await client.delete_recursive("/v") == 4
            with pytest.raises(NodeExistsError):
                await client.copy_subtree("/s", "/u")
            notices: list[object] = []
            await client.add_watch("/u", notices.append)
            client.forget_watch("/u", notices.append)
            await client.set("/u", b"changed")
            assert notices == []

    run(scenario())


def test_a_cancelled_copy_counts_what_is_written(embedded: EmbeddedServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(embedded.hosts) as client:
            await client.create("/many")
            await asyncio.gather(*[client.create(f"/many/n{number}") for number in range(6000)])
            reports: list[Transferred] = []

            def cancel(done: Transferred) -> None:
                reports.append(done)
                if len(reports) == 2:
                    task.cancel()

            task = asyncio.ensure_future(client.copy_subtree("/many", "/copy", progress=cancel))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert 1000 <= reports[-1].written < 6001
            assert await client.count_descendants("/copy") + 1 == reports[-1].written

    asyncio.run(scenario())
