"""Quotas against a naive model that parses and formats the texts at each write.

From a seed: creates, sets and deletes of znodes, of limits and of statistics, also with texts that
only a client writes, and children below the statistics.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from zoolet.model import requests
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.quotas import format_quota, parse_quota
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester
from zoolet.state_machine.znode import data_in

STEPS = 600
SESSION = 7
QUOTA = "/zookeeper/quota"
LIMITS, STATS = "zookeeper_limits", "zookeeper_stats"
REAL = ["/a", "/a/b", "/a/b/c", "/ab", "/d"]
PLACES = [f"{QUOTA}{path}" for path in REAL[:2]] + [f"{QUOTA}/ab"]
TEXTS = [
    b"count=3,bytes=9=;byteHardLimit=12;countHardLimit=4",
    b"count=2,bytes=20",
    b"count=-1,bytes=-1",
    b"bytes=5,count=1",
    b"count=x,bytes=7;;other=3",
    b"",
]


@dataclass
class Model:
    """The data of all znodes below the root, and what Apache's DataTree does with quotas."""

    data: dict[str, bytes] = field(default_factory=dict)

    def limited_at(self, path: str) -> str | None:
        """Return the deepest path at or above ``path`` with limits."""
        while path:
            if f"{QUOTA}{path}/{LIMITS}" in self.data:
                return path
            path = path.rpartition("/")[0]
        return None

    def refuses(self, path: str, count: int, size: int) -> bool:
        """Return whether a write exceeds a hard limit."""
        limited = self.limited_at(path)
        if limited is None or f"{QUOTA}{limited}/{STATS}" not in self.data:
            return False
        limits = parse_quota(self.data[f"{QUOTA}{limited}/{LIMITS}"])
        stats = parse_quota(self.data[f"{QUOTA}{limited}/{STATS}"])
        parts = (("count", "countHardLimit", count), ("bytes", "byteHardLimit", size))
        return any(
            more and limits.get(hard, -1) > -1 and stats.get(name, -1) + more > limits[hard]
            for name, hard, more in parts
        )

    def count(self, path: str, count: int, size: int) -> None:
        """Change the statistics."""
        limited = self.limited_at(path)
        place = f"{QUOTA}{limited}/{STATS}"
        if limited is not None and place in self.data:
            stats = parse_quota(self.data[place])
            stats["count"] = stats.get("count", -1) + count
            stats["bytes"] = stats.get("bytes", -1) + size
            self.data[place] = format_quota(stats)

    def usage(self, path: str) -> dict[str, int]:
        """Return the number of znodes and the bytes of a subtree."""
        below = [data for at, data in self.data.items() if f"{at}/".startswith(f"{path}/")]
        return {"count": len(below), "bytes": sum(map(len, below))}


class World:
    """A machine, the model of it, and the chance that drives both."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.machine = StateMachine(
            Tree.fresh(), SessionTable(1000), rules=Rules(enforces_quota=True)
        )
        self.machine.sessions.open(SESSION, 1000, 0)
        self.model = Model()

    def do(self, op_code: OpCode, request: Any) -> bool:
        """Send a request; return whether it succeeded."""
        requester = Requester(SESSION, NOBODY)
        txn = self.machine.prepare(requester, self.machine.zxid + 1, op_code, request, 0)
        return ErrorCode(self.machine.apply(txn).result.err) is ErrorCode.OK

    def step(self) -> None:
        """Change one znode."""
        places = [*REAL, *PLACES]
        places += [f"{place}/{name}" for place in PLACES for name in (LIMITS, STATS, f"{STATS}/x")]
        path = self.chance.choice(places)
        is_text = path.endswith((LIMITS, STATS))
        data = self.chance.choice(TEXTS) if is_text else b"x" * self.chance.randrange(8)
        kind = self.chance.choice([self.create, self.create, self.set, self.set, self.delete])
        kind(path, data)

    def create(self, path: str, data: bytes) -> None:
        model = self.model
        parent = path.rpartition("/")[0]
        is_there = parent in ("", QUOTA) or parent in model.data
        succeeds = is_there and path not in model.data and not model.refuses(path, 1, len(data))
        assert self.do(OpCode.CREATE, requests.Create(path, data, OPEN_ACL, 0)) is succeeds
        if succeeds:
            model.data[path] = data
            if path.endswith(f"/{STATS}"):
                real = path[len(QUOTA) : -len(STATS) - 1]
                model.data[path] = format_quota(model.usage(real))
            model.count(path, 1, len(data))

    def set(self, path: str, data: bytes) -> None:
        model = self.model
        before = len(model.data.get(path, b""))
        succeeds = path in model.data and not model.refuses(path, 0, len(data) - before)
        assert self.do(OpCode.SET_DATA, requests.SetData(path, data, -1)) is succeeds
        if succeeds:
            model.data[path] = data
            model.count(path, 0, len(data) - before)

    def delete(self, path: str, _data: bytes) -> None:
        model = self.model
        has_children = any(other.startswith(f"{path}/") for other in model.data)
        succeeds = path in model.data and not has_children
        assert self.do(OpCode.DELETE, requests.Delete(path, -1)) is succeeds
        if succeeds:
            before = model.data.pop(path)
            model.count(path, -1, -len(before))

    def check(self) -> None:
        """Compare the data of all znodes."""
        records = self.machine.tree.records
        system = ("/", "/zookeeper", QUOTA, "/zookeeper/config")
        ours = {path: data_in(records[path]) for path in records if path not in system}
        assert ours == self.model.data


@pytest.mark.parametrize("seed", range(1, 21))
def test_quotas_against_a_model(seed: int) -> None:
    world = World(seed)
    for _ in range(STEPS):
        world.step()
        world.check()
