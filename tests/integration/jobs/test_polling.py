"""A caller that asks again and again with a short timeout gets its results from a slow server."""

import pytest

from tests.support.jobs import ROOT
from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher, Job, JobRequest, JobState
from zoolet.model.codes import OpCode
from zoolet.testing import EmbeddedServer


@pytest.mark.parametrize("timeout_s", [0.0, 0.001, 0.02])
def test_short_calls_make_progress_although_each_answer_takes_longer(
    zookeeper: EmbeddedServer, timeout_s: float
) -> None:
    with Dispatcher(zookeeper.hosts, ROOT, create=True) as dispatcher:
        queue = dispatcher.queue
        batch = dispatcher.submit_batch([JobRequest("m:f", "d", str(n)) for n in range(3)])
        queue.register("somebody")
        for name in batch.names:
            queue.finish(queue.own_job(name, "somebody"), "done")
        for op_code in (OpCode.MULTI_READ, OpCode.EXISTS):
            zookeeper.faults.on(op_code, times=None).delay(0.05)
        found: list[Job] = []

        def look() -> bool:
            job = batch.next_result(timeout_s=timeout_s)
            found.extend([] if job is None else [job])
            return len(found) == 3

        wait_until(look, "all results")
    assert {job.state for job in found} == {JobState.SUCCESSFUL}
