"""Whether acknowledged writes can have been durable, by the number of syncs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import syncs
from tests.support.skips import needs

_SYNCS = """
import os, sys
with open(sys.argv[1], "wb") as file:
    os.fsync(file)
    os.fdatasync(file)
    os.fdatasync(file)
try:
    os.fsync(os.pipe()[0])
except OSError:
    pass
"""


@pytest.mark.parametrize(
    ("answered", "outstanding", "count"),
    [(100, 1, 100), (100, 1, 101), (512, 512, 1), (513, 512, 2), (0, 1, 0)],
)
def test_enough_syncs_are_accepted(answered: int, outstanding: int, count: int) -> None:
    syncs.check(answered, outstanding, count)


@pytest.mark.parametrize(
    ("answered", "outstanding", "count"), [(100, 1, 99), (513, 512, 1), (1, 512, 0)]
)
def test_too_few_syncs_are_refused(answered: int, outstanding: int, count: int) -> None:
    with pytest.raises(RuntimeError, match=r"writes were acknowledged.*but there were"):
        syncs.check(answered, outstanding, count)


def test_the_syncs_of_a_process_are_counted_without_those_that_failed(tmp_path: Path) -> None:
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip(needs("a C compiler on Linux", "gcc", "libc6-dev"))
    environment = {**os.environ, **syncs.preload(tmp_path)}
    assert syncs.preloaded(tmp_path) == 0
    for runs in (1, 2):
        command = [sys.executable, "-c", _SYNCS, str(tmp_path / "file")]
        subprocess.run(command, env=environment, check=True)
        assert syncs.preloaded(tmp_path) == 3 * runs


def test_the_syncs_of_a_server_are_in_mntr() -> None:
    assert syncs.of_mntr({"zk_cnt_fsynctime": "12", "zk_version": "3.9"}) == 12
