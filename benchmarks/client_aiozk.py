"""The scenarios of the client benchmark with aiozk, on uvloop.

aiozk is installed in an environment of its own (``benchmarks/peers/aiozk.txt``), which has no
zoolet. Run by `client_bench`: PEER/bin/python -m benchmarks.client_aiozk SCENARIO PORT SECONDS.
"""

import uvloop
from aiozk import ZKClient

from benchmarks.client_timing import PATHS, async_p50_us, main, tasks_per_s


async def _awaited(port: int, seconds: float) -> float:
    client = ZKClient(f"127.0.0.1:{port}")
    await client.start()
    found = await async_p50_us(client.get, PATHS, seconds)
    await client.close()
    return found


async def _from_tasks(port: int, seconds: float) -> float:
    client = ZKClient(f"127.0.0.1:{port}")
    await client.start()
    found = await tasks_per_s(client.get, PATHS, seconds)
    await client.close()
    return found


def _get_async(port: int, seconds: float) -> float:
    return uvloop.run(_awaited(port, seconds))


def _gets_tasks(port: int, seconds: float) -> float:
    return uvloop.run(_from_tasks(port, seconds))


if __name__ == "__main__":
    main({"get-async": _get_async, "gets-tasks": _gets_tasks})
