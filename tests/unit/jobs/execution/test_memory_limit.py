"""The memory of an executor's processes is measured, at most ten times in a second."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from zoolet.jobs.execution import memory_limit
from zoolet.jobs.execution.memory_limit import LOOK_S, MemoryLimit, descendants

pytestmark = pytest.mark.skipif(not memory_limit.is_supported(), reason="/proc of Linux is needed")

MIB = 1 << 20
CODE = """
import os, sys
kept = bytearray(60 << 20)
pids = [os.getpid()]
for _ in range(3):
    pid = os.fork()
    if not pid:
        sys.stdin.read()
        os._exit(0)
    pids.append(pid)
print(*pids, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def family() -> Iterator[tuple[int, list[int]]]:
    """A process that waits for a process with 60 MiB, which it shares with three children."""
    command = [sys.executable, "-S", "-c", CODE]
    code = f"import subprocess; subprocess.run({command!r}, check=True)"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.pid, [int(pid) for pid in process.stdout.readline().split()]
        assert process.stdin is not None
        process.stdin.close()


def test_all_descendants_are_found(family: tuple[int, list[int]]) -> None:
    pid, pids = family
    assert sorted(descendants(pid)) == sorted(pids)


def test_a_process_that_has_ended_has_no_descendants() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        pass
    assert list(descendants(process.pid)) == []


@pytest.mark.parametrize(("limit_mib", "is_exceeded"), [(40, True), (150, False)])
def test_shared_memory_counts_one_time(
    family: tuple[int, list[int]], limit_mib: int, is_exceeded: bool
) -> None:
    reason = MemoryLimit(limit_mib * MIB).excess(family[0], 1000.0)
    assert (reason is not None) == is_exceeded, reason
    if reason is not None:
        assert f"more than the limit of {limit_mib} MiB for an attempt" in reason


def test_between_two_looks_nothing_is_measured(
    family: tuple[int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = MemoryLimit(40 * MIB)
    assert limit.excess(family[0], 1000.0) is not None
    with monkeypatch.context() as patch:
        patch.setattr(memory_limit, "descendants", None)
        assert limit.excess(family[0], 1000.0 + LOOK_S / 2) is None
    assert limit.excess(family[0], 1000.0 + LOOK_S) is not None


def test_an_executor_is_ended_by_the_kernel_before_its_worker() -> None:
    code = (
        "from zoolet.jobs.execution.memory_limit import prefer_for_oom_killer as prefer; prefer();"
        " print(open('/proc/self/oom_score_adj').read())"
    )
    with open("/proc/self/oom_score_adj") as file:  # noqa: PTH123 -- as the code above
        before = int(file.read())
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ
    )
    assert int(found.stdout) == max(before, 500)
