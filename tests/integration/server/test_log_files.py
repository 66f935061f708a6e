"""The files of the log, under several writers: no txn is missing, and none is in two files.

The settings are so small that batches often begin a file, let it grow, or end it. These batches are
written by another thread than the others.
"""

import asyncio
import itertools
import random
from pathlib import Path

import pytest

from zoolet.client import AsyncClient
from zoolet.storage.disk import Disk
from zoolet.storage.txn_log import read_records
from zoolet.testing import ServerProcess

SETTINGS = {"preAllocSize": 1, "snapCount": 50, "autopurge.purgeInterval": 0}
ROUNDS = 12


async def write(hosts: str, seed: int, model: dict[str, bytes | None]) -> None:
    """Set znodes of several clients at the same time; ``model`` gets what was acknowledged."""
    chance = random.Random(seed)
    clients = [AsyncClient(hosts) for _ in range(4)]
    for client in clients:
        await client.start()
    for number in range(len(clients)):
        await clients[0].create(f"/{number}")

    async def write_some(number: int, count: int) -> None:
        for _ in range(count):
            data = chance.randbytes(chance.choice([0, 10, 200, 700]))
            await clients[number].set(f"/{number}", data)
            model[f"/{number}"] = data

    for _ in range(ROUNDS):
        counts = [chance.choice([0, 1, 5, 40]) for _ in clients]
        await asyncio.gather(*(write_some(number, count) for number, count in enumerate(counts)))
    for client in clients:
        await client.close()


async def read(hosts: str, paths: list[str]) -> dict[str, bytes | None]:
    async with AsyncClient(hosts) as client:
        return {path: (await client.get(path)).data for path in paths}


def zxids_of(directory: Path) -> dict[str, list[int]]:
    """Return the zxids in each log, in the order of the logs."""
    found = {}
    for path in sorted(directory.glob("**/log.*"), key=lambda path: int(path.suffix[1:], 16)):
        with Disk().open(path) as file:
            found[path.name] = [record.txn.header.zxid for record in read_records(path, file)]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_every_txn_is_once_in_the_files(tmp_path: Path, seed: int) -> None:
    model: dict[str, bytes | None] = {}
    with ServerProcess(tmp_path, SETTINGS) as server:
        asyncio.run(write(server.hosts, seed, model))
        server.kill()
        found = zxids_of(server.directory / "data")
        zxids = list(itertools.chain(*found.values()))
        assert len(found) > 3
        assert zxids == list(range(1, len(zxids) + 1))
        assert len(zxids) > len(model)
        server.start()
        assert asyncio.run(read(server.hosts, list(model))) == model
