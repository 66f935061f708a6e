"""Signed jobs on three Apache members whose leader is killed: changed jobs do not run."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.support.jobs import WorkerProcess, next_result, numbered
from tests.support.signing import write_keys
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher, JobState
from zoolet.jobs.records.transitions import Place


def test_only_unchanged_jobs_run_although_the_leader_is_killed(
    hosts: str,
    root: str,
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
    tmp_path: Path,
) -> None:
    keys = write_keys(tmp_path / "keys", "first")
    unsigned = dispatcher.submit_batch(numbered(20))
    with Dispatcher(hosts, root, signing_keys=keys) as signing:
        changed = signing.submit_batch(numbered(20), reuse=False)
        znodes = dispatcher.queue.layout.znodes
        for name in changed.names:
            path = dispatcher.queue.layout.unowned(name)
            found = znodes.get(path)
            assert found is not None
            value = json.loads(found.data) | {"parameters": {"n": "forged"}}
            znodes.set(path, json.dumps(value).encode())
        good = signing.submit_batch(numbered(60), reuse=False)
        start_worker("--signing-keys", str(keys))
        jobs = [next_result(good)]
        kill_leader()
        late = signing.submit_batch(numbered(20), reuse=False)
        jobs += [next_result(batch) for batch in (good, late) for _ in range(batch.outstanding)]
        assert {job.state for job in jobs} == {JobState.SUCCESSFUL}
        assert len(jobs) == 80
    refused = [*unsigned.names, *changed.names]
    layout = dispatcher.queue.layout
    wait_until(lambda: len(layout.read(Place.DONE, refused)) == 40, "the refused jobs")
    for job in layout.read(Place.DONE, refused):
        assert (job.state, job.attempts) == (JobState.FAILED, 0)
        assert "the worker refused the job" in job.last_error
