"""Hooks for FAILED jobs on three Apache members whose leader is killed: each has its call."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.jobs import WorkerProcess, all_results, next_result
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher, JobRequest, JobState, When

WRITE = """
import json, sys
job = json.load(sys.stdin)
with open(sys.argv[1], "a") as file:
    file.write(json.dumps([job["job"], job["reason"]]) + "\\n")
"""
EACH = 10


def test_each_failure_has_a_call_although_the_leader_is_killed(
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
    tmp_path: Path,
) -> None:
    file, script = tmp_path / "calls", tmp_path / "write.py"
    script.write_text(WRITE)
    options = ("--on-failure", shlex.join([sys.executable, str(script), str(file)]))
    workers = [start_worker(*options, loader=None) for _ in range(2)]
    failing = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:trouble", max_attempts=1, parameters={"n": n}) for n in range(EACH)]
    )
    skipped = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:echo", parameters={"n": n}) for n in range(EACH)],
        after=failing,
        when=When.ALL_SUCCEEDED,
    )
    expired = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:echo", expires_ms=1, parameters={"n": n}) for n in range(EACH)]
    )
    jobs = [next_result(failing)]
    kill_leader()
    lost = dispatcher.submit_batch(
        [JobRequest("pipe_tasks:hang_once", parameters={"file": str(tmp_path / "hung")},
                    max_attempts=1)]
    )  # fmt: skip
    wait_until((tmp_path / "hung").exists, "a task that hangs")
    for worker in workers:
        worker.kill()
    start_worker(*options, loader=None)
    jobs += [job for batch in (failing, skipped, expired, lost) for job in all_results(batch)]
    assert {job.state for job in jobs} == {JobState.FAILED}
    expected = {
        **dict.fromkeys(failing.names, "attempt"),
        **dict.fromkeys(skipped.names, "skipped"),
        **dict.fromkeys(expired.names, "expired"),
        **dict.fromkeys(lost.names, "worker lost"),
    }

    def called() -> dict[str, str]:
        return dict(map(json.loads, file.read_text().splitlines())) if file.exists() else {}

    wait_until(lambda: called().keys() >= expected.keys(), "all calls")
    assert called() == expected
