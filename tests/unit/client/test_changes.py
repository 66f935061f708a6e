"""A copy of a subtree gets states of the server, from events and reads at random times."""

import random
from collections.abc import Callable

import pytest

from zoolet.client.changes import ChangeKind, PendingEvents, Tree, TreeChange, differences
from zoolet.model.codes import EventType
from zoolet.model.results import Event, ZnodeData
from zoolet.model.stat import Stat

PATHS = ["/t", "/t/a", "/t/b", "/t/a/c", "/t/a/d"]


def znode(czxid: int, mzxid: int, version: int = 0) -> ZnodeData:
    return ZnodeData(b"", Stat(czxid, mzxid, 0, 0, version, 0, 0, 0, 0, 0, 0))


class Server:
    """A subtree at a server, with all its earlier states by their zxids."""

    def __init__(self, generator: random.Random, *, sends_zxids: bool) -> None:
        self.generator = generator
        self.sends_zxids = sends_zxids
        self.tree: Tree = {}
        self.zxid = 0
        self.states: list[Tree] = [{}]

    def change(self) -> list[Event]:
        """Apply a txn with one to three operations; return its events."""
        self.zxid += 1
        events = []
        for _ in range(self.generator.choice([1, 1, 1, 2, 3])):
            path = self.generator.choice(PATHS)
            parent = path.rpartition("/")[0]
            if path in self.tree:
                has_children = any(other.startswith(f"{path}/") for other in self.tree)
                if has_children or self.generator.random() < 0.5:
                    old = self.tree[path].stat
                    self.tree[path] = znode(old.czxid, self.zxid, old.version + 1)
                    events.append((EventType.NODE_DATA_CHANGED, path))
                else:
                    del self.tree[path]
                    events.append((EventType.NODE_DELETED, path))
            elif parent in ("", *self.tree):
                self.tree[path] = znode(self.zxid, self.zxid)
                events.append((EventType.NODE_CREATED, path))
        self.states.append(dict(self.tree))
        zxid = self.zxid if self.sends_zxids else -1
        return [Event(kind, path, zxid) for kind, path in events]


class Follower:
    """A copy of a server's subtree, which meets further changes while it reads."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pending = PendingEvents()
        self.copy: Tree = {}
        self.shown_at = 0

    def changes_happen(self, chance: float) -> None:
        while self.server.generator.random() < chance:
            for event in self.server.change():
                self.pending.add(event)

    def advance(self, chance: float) -> list[TreeChange]:
        """Read, and show what is known; each copy must be a state of the server."""
        server, found = self.server, {}
        self.changes_happen(chance)
        for path in self.pending.ask():
            self.changes_happen(chance / 4)
            if path in server.tree:
                found[path] = server.tree[path]
        self.pending.learn(found)
        before = dict(self.copy)
        changes = self.pending.cut(self.copy)
        if changes is None:
            assert self.copy == before
            return []
        check_changes(before, self.copy, changes)
        later = range(self.shown_at, len(server.states))
        self.shown_at = next((at for at in later if server.states[at] == self.copy), -1)
        assert self.shown_at >= 0, "the copy is no state of the server"
        return changes


@pytest.mark.parametrize("sends_zxids", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_each_cut_is_a_state_of_the_server(seed: int, *, sends_zxids: bool) -> None:
    print("seed", seed)
    follower = Follower(Server(random.Random(seed), sends_zxids=sends_zxids))
    last_zxid = 0
    for _ in range(40):
        known = [change.zxid for change in follower.advance(0.5) if change.zxid != -1]
        assert known == sorted(known)
        assert min(known, default=last_zxid) >= last_zxid
        last_zxid = max([last_zxid, *known])
    while follower.pending:
        follower.advance(0.0)
    assert follower.copy == follower.server.tree


def check_changes(before: Tree, after: Tree, changes: list[TreeChange]) -> None:
    """Check that changes lead from one state to another, parents before their children."""
    tree = dict(before)
    for change in changes:
        if change.found is None:
            assert change.kind is ChangeKind.DELETED
            del tree[change.path]
        else:
            assert (change.path in tree) == (change.kind is ChangeKind.CHANGED)
            tree[change.path] = change.found
        for path in tree:
            assert path == PATHS[0] or path.rpartition("/")[0] in tree
    assert tree == after


@pytest.mark.parametrize("seed", range(60))
def test_differences_lead_from_one_state_to_the_other(seed: int) -> None:
    generator = random.Random(seed)
    server = Server(generator, sends_zxids=True)
    count: Callable[[], int] = lambda: generator.randrange(1, 12)  # noqa: E731
    for _ in range(20):
        before = dict(server.tree)
        for _ in range(count()):
            server.change()
        check_changes(before, server.tree, differences(before, server.tree))
