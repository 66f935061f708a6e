"""The check of the source's history, with a model of servers that are replaced and set back."""

import asyncio
import random
from pathlib import Path
from typing import Any, cast

import pytest

from zoolet.archive.errors import ArchiveError
from zoolet.archive.mirror.history import SourceHistory
from zoolet.archive.mirror.records.rows import Row
from zoolet.archive.mirror.records.state_file import StateFile
from zoolet.archive.mirror.records.subtree import subtrees_of
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import SessionExpiredError
from zoolet.client.protocol.session_id import SessionId
from zoolet.model.results import Children
from zoolet.model.stat import Stat

ROOT_STAT = Stat(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def stat_of(zxid: int, ctime: int) -> Stat:
    return ROOT_STAT._replace(czxid=zxid, mzxid=zxid, ctime=ctime)


class Source:
    """A server of the source: its znodes below the root, and its last zxid."""

    def __init__(self, history: int) -> None:
        self.history = history
        self.zxid = 0
        self.znodes: dict[str, Stat] = {}

    def create(self, path: str) -> None:
        self.zxid += 1
        self.znodes[path] = stat_of(self.zxid, self.history)

    def delete(self, path: str) -> None:
        self.zxid += 1
        del self.znodes[path]

    def copied(self) -> "Source":
        other = Source(self.history)
        other.zxid, other.znodes = self.zxid, dict(self.znodes)
        return other


class FakeClient:
    """The client of a source."""

    def __init__(self, source: Source, session: int) -> None:
        self.source = source
        self.session_id = SessionId(session, bytes(16))
        self.last_zxid = source.zxid

    async def sync(self, _: str) -> None:
        self.last_zxid = self.source.zxid

    async def exists(self, path: str) -> Stat | None:
        return ROOT_STAT if path == "/" else self.source.znodes.get(path)

    async def children(self, _: str) -> Children:
        return Children((*(path[1:] for path in self.source.znodes), "zookeeper"), ROOT_STAT)


def check(source: Source, state: StateFile, session: int, *, accepts: bool = False) -> list[str]:
    """Check a source, as a mirror that starts; return what it says."""
    said: list[str] = []
    client: Any = FakeClient(source, session)
    subtree, _ = subtrees_of("/", "/")
    history = SourceHistory(client, subtree, state, said.append, accepts_other=accepts)
    asyncio.run(history.check())
    return said


def copy(source: Source, state: StateFile) -> None:
    """Let the rows be those of a mirror that has copied a source."""
    for name in list(state.children("")):
        if f"/{name}" not in source.znodes:
            state.remove(f"/{name}")
    state.put("", Row.equal(ROOT_STAT, ROOT_STAT))
    for path, stat in source.znodes.items():
        state.put(path, Row.equal(stat, stat_of(1, 1)))


def is_known(source: Source, state: StateFile) -> bool:
    rows = {path: state.row(path) for path in source.znodes}
    return any(row is not None and row.is_same_znode(source.znodes[p]) for p, row in rows.items())


@pytest.mark.parametrize("seed", range(20))
def test_only_a_source_with_the_known_history_is_accepted(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    state = StateFile(tmp_path / "s.sqlite", "a", "b")
    source, newest, refused = Source(0), 0, 0
    older: list[Source] = []
    for session in range(1, 60):
        step = chance.random()
        present = source
        if step < 0.1:
            present = Source(session)
        elif step < 0.25 and older:
            present = chance.choice(older).copied()
        is_same = present is source
        for number in range(chance.randrange(1, 30)):
            if len(present.znodes) > 1 and chance.random() < 0.3:
                present.delete(chance.choice(list(present.znodes)[1:]))
            present.create(f"/n{session}-{number}")
        had_rows = any(state.children(""))
        try:
            check(present, state, session)
        except ArchiveError:
            refused += 1
            assert not is_same
            assert state.source_zxid == newest
            if chance.random() < 0.5:
                continue
            [said] = check(present, state, session, accepts=True)
            assert "--accept-source" in said
        else:
            assert present.zxid >= newest
            assert is_known(present, state) or not had_rows
        source, newest = present, present.zxid
        assert state.source_zxid == newest
        older.append(source.copied())
        copy(source, state)
    assert refused
    state.close()


def test_the_first_source_is_accepted_and_noted(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s.sqlite", "a", "b")
    source = Source(0)
    source.create("/a")
    assert check(source, state, 1) == []
    assert state.source_zxid == 1
    state.close()


def test_only_one_source_is_accepted(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s.sqlite", "a", "b")
    state.put_source_zxid(100)
    client = FakeClient(Source(0), 1)
    subtree, _ = subtrees_of("/", "/")
    said: list[str] = []
    history = SourceHistory(
        cast("AsyncClient", client), subtree, state, said.append, accepts_other=True
    )

    async def scenario() -> None:
        await history.check()
        assert len(said) == 1
        await history.check()
        history.check_session()
        state.put_source_zxid(100)
        client.session_id = SessionId(2, bytes(16))
        with pytest.raises(SessionExpiredError):
            history.check_session()
        with pytest.raises(ArchiveError, match="its last zxid is 0x0, and the mirror has seen"):
            await history.check()

    asyncio.run(scenario())
    state.close()
