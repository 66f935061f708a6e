"""Servers that tests use one after the other: each test gets one that is like a new one."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.reused_servers import ReusedServers
from zoolet.client import Client
from zoolet.testing import ServerProcess


@pytest.fixture
def new(tmp_path: Path) -> Callable[[], ServerProcess]:
    directories = (tmp_path / str(number) for number in range(100))
    return lambda: ServerProcess(next(directories))


@pytest.fixture
def reused() -> Iterator[ReusedServers]:
    with contextlib.closing(ReusedServers()) as servers:
        yield servers


def test_the_next_test_gets_the_same_server_without_znodes(
    reused: ReusedServers, new: Callable[[], ServerProcess]
) -> None:
    with reused.lend("a", new) as first, Client(first.hosts) as client:
        client.create("/a", b"x")
        client.create("/a/b")
        client.create("/zookeeper/quota/a")
    with reused.lend("a", new) as second, Client(second.hosts) as client:
        assert second is first
        assert client.children("/").names == ("zookeeper",)
        assert client.children("/zookeeper/quota").names == ()
        with reused.lend("b", new) as other:
            assert other is not first
        with reused.lend("a", new) as third:
            assert third is not first


def stop(server: ServerProcess, _: contextlib.ExitStack) -> None:
    server.stop()


def restart(server: ServerProcess, _: contextlib.ExitStack) -> None:
    server.restart()


def change_the_root(server: ServerProcess, _: contextlib.ExitStack) -> None:
    with Client(server.hosts) as client:
        client.set("/", b"changed")


def add_to_the_servers_own(server: ServerProcess, _: contextlib.ExitStack) -> None:
    with Client(server.hosts) as client:
        client.create("/zookeeper/mine")


def stay(server: ServerProcess, stack: contextlib.ExitStack) -> None:
    stack.enter_context(Client(server.hosts))


@pytest.mark.parametrize("use", [stop, restart, change_the_root, add_to_the_servers_own, stay])
def test_a_server_that_is_not_like_a_new_one_is_ended(
    reused: ReusedServers,
    new: Callable[[], ServerProcess],
    use: Callable[[ServerProcess, contextlib.ExitStack], None],
) -> None:
    with contextlib.ExitStack() as stack:
        with reused.lend("a", new) as first:
            use(first, stack)
        assert not first.is_running
        with reused.lend("a", new) as second:
            assert second is not first


def test_a_server_ends_with_a_test_that_fails_to_return_it_and_with_all(
    reused: ReusedServers, new: Callable[[], ServerProcess]
) -> None:
    with pytest.raises(ValueError, match="in the test"), reused.lend("a", new) as first:
        raise ValueError("in the test")
    assert not first.is_running
    with reused.lend("a", new) as second:
        pass
    assert second.is_running
    reused.close()
    assert not second.is_running
