"""A server that loses its history, or is replaced by another one, empties no target.

A proxy has the address of the server, so that another server can take its place.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mirrors import MirrorProcess, Trees, run_here, tree_at
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from zoolet.client import Client
from zoolet.testing import EmbeddedServer

ROOTS = ("/", "/app")
KINDS = ("empty", "longer", "backup")
OPTIONS = ("--session-timeout-ms", "1000")


class Stage:
    """A server whose place another one takes, its mirror, and the other side.

    Attributes:
        proxy: the address of the server that is replaced.
        other: the server of the other side.
        state: the state file.
    """

    def __init__(self, directory: Path, root: str, stack: contextlib.ExitStack) -> None:
        self._directory = directory
        self._root = root
        self._stack = stack
        self.state = directory / "s.sqlite"
        self.other = stack.enter_context(EmbeddedServer())
        first = stack.enter_context(EmbeddedServer(directory / "first"))
        with Client(first.hosts) as client:
            client.create("/app", b"app")
            client.create("/app/old")
        first.stop()
        shutil.copytree(directory / "first", directory / "backup")
        first.start()
        with Client(first.hosts) as client:
            for number in range(30):
                client.create(f"/app/{number}")
        self.proxy = stack.enter_context(Proxy(first.port))

    def replace(self, kind: str) -> EmbeddedServer:
        """Put another server in the place of the first one, and return it."""
        directory = self._directory / "backup" if kind == "backup" else None
        server = self._stack.enter_context(EmbeddedServer(directory))
        if kind == "longer":
            with Client(server.hosts) as client:
                client.create("/app", b"other")
                for number in range(100):
                    client.create(f"/app/other-{number}")
        self.proxy.lead_to(server.port)
        return server

    def places(self, *, replaced: str) -> tuple[str, str]:
        """Return the addresses of the source and the target."""
        root = "" if self._root == "/" else self._root
        hosts = (self.proxy.hosts, self.other.hosts)
        source, target = hosts if replaced == "source" else reversed(hosts)
        return f"{source}{root}", f"{target}{root}"

    def tree(self, hosts: str) -> Trees:
        with Client(hosts) as client:
            return tree_at(client, self._root)


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        yield Stage(tmp_path, request.param, stack)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ROOTS, indirect=True)
def test_a_mirror_that_starts_refuses_another_source(stage: Stage, kind: str) -> None:
    source, target = stage.places(replaced="source")
    status, text = run_here(source, target, stage.state, "--once")
    assert status == 0, text
    copied = stage.tree(stage.other.hosts)
    server = stage.replace(kind)
    status, text = run_here(source, target, stage.state, "--once", "--on-conflict", "overwrite")
    assert status == 1
    assert "--accept-source" in text or "/app does not exist in the source" in text
    assert stage.tree(stage.other.hosts) == copied
    if "--accept-source" not in text:
        return
    status, text = run_here(source, target, stage.state, "--once", "--accept-source")
    assert status == 0, text
    assert stage.tree(stage.other.hosts) == stage.tree(server.hosts) != copied
    status, text = run_here(source, target, stage.state, "--once")
    assert "copied 0, deleted 0" in text


@pytest.mark.parametrize(
    ("stage", "kind"), [("/", "empty"), ("/", "longer"), ("/app", "backup")], indirect=["stage"]
)
def test_a_running_mirror_refuses_another_source(stage: Stage, kind: str) -> None:
    source, target = stage.places(replaced="source")
    with MirrorProcess(source, target, stage.state, *OPTIONS) as running:
        running.wait_for("compared")
        copied = stage.tree(stage.other.hosts)
        stage.replace(kind)
        assert running.wait() == 1
        assert "--accept-source" in running.text, running.text
        if kind != "longer":
            assert "the source has lost changes: its last zxid is 0x" in running.text
    assert stage.tree(stage.other.hosts) == copied


@pytest.mark.parametrize("stage", ["/"], indirect=True)
def test_without_a_state_file_an_empty_server_empties_no_target(stage: Stage) -> None:
    source, target = stage.places(replaced="source")
    run_here(source, target, stage.state, "--once")
    copied = stage.tree(stage.other.hosts)
    stage.state.unlink()
    stage.replace("empty")
    status, text = run_here(source, target, stage.state, "--once", "--on-conflict", "overwrite")
    assert status == 1
    assert "the source is empty, and the target is not" in text
    assert stage.tree(stage.other.hosts) == copied


@pytest.mark.parametrize("kind", ["empty", "backup"])
@pytest.mark.parametrize("stage", ["/app"], indirect=True)
def test_a_target_that_lost_changes_is_copied_again(stage: Stage, kind: str) -> None:
    source, target = stage.places(replaced="target")
    with Client(stage.other.hosts) as client:
        client.create("/app", b"new")
        client.create("/app/a", b"1")
    overwrites = ("--on-conflict", "overwrite")
    with MirrorProcess(source, target, stage.state, *OPTIONS, *overwrites) as running:
        running.wait_for("compared")
        server = stage.replace(kind)
        running.wait_for("the target has lost changes: its last zxid is 0x")
        wanted = stage.tree(stage.other.hosts)
        wait_until(lambda: stage.tree(server.hosts) == wanted, "the copy")
        with Client(stage.other.hosts) as client:
            client.set("/app/a", b"2")
        wanted = stage.tree(stage.other.hosts)
        wait_until(lambda: stage.tree(server.hosts) == wanted, "the copy of a change")
        assert running.terminate() == 0
        assert "the mirror has ended" in running.text
