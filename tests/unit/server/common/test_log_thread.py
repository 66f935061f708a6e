"""The order of the log's calls and writes, whichever thread does them."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from zoolet.model.build import KIND
from zoolet.server.common.log_thread import LogThread

needs_writer = pytest.mark.skipif(
    KIND != "compiled", reason="only the compiled build has the module"
)


def write(fd: int, data: bytes) -> None:
    assert os.write(fd, data) == len(data)


Scenario = Callable[[LogThread, int, Path], Awaitable[None]]


def run(scenario: Scenario, tmp_path: Path) -> None:
    """Run a scenario with a log thread and an open file; the thread is stopped by the scenario."""

    async def main() -> None:
        path = tmp_path / "file"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        await scenario(LogThread(asyncio.get_running_loop()), fd, path)
        os.close(fd)

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(10))
def test_calls_and_writes_run_in_the_order_of_their_submission(seed: int, tmp_path: Path) -> None:
    """A write that is refused is submitted as a call, as the server does."""

    async def scenario(thread: LogThread, fd: int, path: Path) -> None:
        chance = random.Random(seed)
        wanted = b""
        ended: list[int] = []
        unlocked = 0
        for number in range(300):
            data = f"{number},".encode()
            wanted += data
            end = partial(lambda number, *_: ended.append(number), number)
            if chance.random() < 0.6 and thread.write(fd, data, 0, end):
                unlocked += 1
            else:
                thread.submit(partial(write, fd, data), end)
            if chance.random() < 0.3:
                while len(ended) <= number:
                    await asyncio.sleep(0)
        thread.stop()
        await asyncio.sleep(0)  # the loop calls what the last calls have left
        while len(ended) < 300:
            await asyncio.sleep(0)
        assert path.read_bytes() == wanted
        assert ended == list(range(300))
        assert (unlocked > 10) == (KIND == "compiled")

    run(scenario, tmp_path)


@needs_writer
def test_a_write_is_refused_while_another_call_runs(tmp_path: Path) -> None:
    async def scenario(thread: LogThread, fd: int, path: Path) -> None:
        done = asyncio.get_running_loop().create_future()
        thread.submit(lambda: None, done.set_result)
        assert not thread.write(fd, b"x", 0, lambda *_: None)
        await done
        assert thread.write(fd, b"y", 0, lambda *_: None)
        assert not thread.write(fd, b"z", 0, lambda *_: None)
        thread.stop()
        assert path.read_bytes() == b"y"

    run(scenario, tmp_path)


@needs_writer
def test_a_blocked_disk_does_not_block_the_loop(tmp_path: Path) -> None:
    async def scenario(thread: LogThread, _: int, __: Path) -> None:
        source, sink = os.pipe()
        data = bytes(1 << 20)
        written: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        calls: list[str] = []
        assert thread.write(sink, data, 0, lambda _, took_s: written.set_result(took_s))
        thread.submit(lambda: calls.append("after it"), lambda _: None)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not written.done()
        assert not calls
        received = 0
        while received < len(data):
            received += len(os.read(source, 1 << 16))
        assert await written >= 0
        thread.stop()
        assert calls == ["after it"]
        os.close(source)
        os.close(sink)

    run(scenario, tmp_path)


@needs_writer
def test_the_failure_of_a_write_is_passed_on_and_later_calls_run(tmp_path: Path) -> None:
    async def scenario(thread: LogThread, _: int, __: Path) -> None:
        failures: list[Exception | None] = []
        full = os.open("/dev/full", os.O_WRONLY)
        assert thread.write(full, b"x", 0, lambda failure, _: failures.append(failure))
        thread.submit(lambda: os.close(full), failures.append)
        await asyncio.to_thread(wait_until, lambda: len(failures) == 2, "both")
        assert isinstance(failures[0], OSError)
        assert failures[1] is None
        thread.stop()

    run(scenario, tmp_path)
