"""Jobs on three Apache ZooKeepers while the leader is killed: nothing is lost, nothing doubled."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ensemble import ApacheEnsemble
from tests.support.jobs import (
    ROOT,
    WorkerProcess,
    all_results,
    assert_done_once,
    next_result,
    numbered,
    write_tasks,
)
from zoolet.jobs import Dispatcher


def test_the_leader_is_killed_in_the_middle(
    tmp_path: Path,
    apache_jars: Path,
    hosts_in: Callable[[ApacheEnsemble], str],
    request: pytest.FixtureRequest,
) -> None:
    count = request.config.getoption("--ensemble-jobs")
    kills = request.config.getoption("--leader-kills")
    write_tasks(tmp_path)
    with contextlib.ExitStack() as started:
        ensemble = started.enter_context(ApacheEnsemble(tmp_path / "ensemble", apache_jars))
        hosts = hosts_in(ensemble)
        dispatcher = started.enter_context(Dispatcher(hosts, ROOT, create=True))
        for _ in range(2):
            worker = WorkerProcess(hosts, tmp_path, "--session-timeout-ms", "10000")
            started.callback(worker.close)
        began = time.monotonic()
        batch = dispatcher.submit_batch(numbered(count, groups=16))
        jobs = []
        for _ in range(kills):
            jobs += [next_result(batch) for _ in range(count // (kills + 2))]
            leader = ensemble.leader()
            leader.kill()
            jobs.append(next_result(batch))
            leader.start()
        jobs += all_results(batch)
        took_s = time.monotonic() - began
        assert_done_once(dispatcher.queue, batch, jobs)
        assert {job.result for job in jobs} == set(range(count))
    print(f"{count} jobs, the leader killed {kills} times: {took_s:.1f} s, {count / took_s:.0f}/s")
