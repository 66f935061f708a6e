"""``zoolet data`` as a process: its limits, and its end when nobody waits any more."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from zoolet.web.history import process
from zoolet.web.history.process import DataTool, PastError
from zoolet.web.settings import PastSource

PROGRAM = """\
import os, sys, time
print('{"pid": %d}' % os.getpid(), flush=True)
what = sys.argv[1:]
if "history" in what and "slow" in what:
    time.sleep(100)
if "long" in what:
    print('"' + "x" * 1000 + '"')
if "many" in what:
    print("{}\\n" * 1000)
if "wrong" in what:
    print("{")
if "fails" in what:
    sys.exit("the source SECRET is not there")
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataTool:
    """Runs a small program as ``python -m zoolet``, to reach each limit."""
    program = tmp_path / "program"
    program.write_text(f"#!{os.path.realpath('/usr/bin/env')} python3\n{PROGRAM}")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return DataTool()


def lines(tool: DataTool, *words: str) -> AsyncGenerator[dict[str, Any], None]:
    return tool.lines(PastSource("SECRET", is_archive=False), "history", [*words, "--", "{}"])


async def all_of(tool: DataTool, *words: str) -> list[dict[str, Any]]:
    return [line async for line in lines(tool, *words)]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_ends_when_its_reader_leaves(tool: DataTool) -> None:
    async def run() -> int:
        pids: asyncio.Queue[int] = asyncio.Queue()

        async def read() -> None:
            async for line in lines(tool, "slow"):
                pids.put_nowait(line["pid"])

        task = asyncio.create_task(read())
        pid = await asyncio.wait_for(pids.get(), 30)
        assert is_alive(pid)
        task.cancel()
        await asyncio.wait([task])
        return pid

    assert not is_alive(asyncio.run(run()))


def test_a_process_that_is_too_slow_is_killed(
    tool: DataTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "TIMEOUT_S", 0.5)
    with pytest.raises(PastError, match="took longer"):
        asyncio.run(all_of(tool, "slow"))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("long", "too long"),
        ("many", "Choose a shorter time"),
        ("wrong", "not JSON"),
        ("fails", "the source the source is not there"),
    ],
)
def test_output_has_limits(
    tool: DataTool, monkeypatch: pytest.MonkeyPatch, word: str, message: str
) -> None:
    monkeypatch.setattr(process, "_LINE_BYTES", 200)
    monkeypatch.setattr(process, "MOST_BYTES", 1000)
    with pytest.raises(PastError, match=message):
        asyncio.run(all_of(tool, word))


def test_few_processes_run_and_few_requests_wait(
    tool: DataTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MOST_WAITING", 1)

    async def run() -> None:
        tasks = [asyncio.create_task(all_of(tool, "slow")) for _ in range(4)]
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with pytest.raises(PastError, match="Try again later"):
                task.result()
        for task in waiting:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(run())
