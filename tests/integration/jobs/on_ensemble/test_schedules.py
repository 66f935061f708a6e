"""Schedules on three Apache members whose leader is killed: each due time has one job."""

from collections import Counter
from collections.abc import Callable

from tests.support.waiting import wait_until
from zoolet.jobs import Dispatcher, JobRequest, Missed

EVERY_MS = 1000
SCHEDULES = 5


def test_each_due_time_has_one_job_while_the_leader_is_killed(
    dispatcher: Dispatcher,
    start_worker: Callable[..., object],
    kill_leader: Callable[[], None],
) -> None:
    schedules = dispatcher.schedules
    for _ in range(2):
        start_worker(loader=None)
    started_ms = {}
    for number in range(SCHEDULES):
        name = f"s{number}"
        request = JobRequest("pipe_tasks:echo", parameters={"name": name})
        added = schedules.add(
            name,
            request,
            every_ms=EVERY_MS,
            missed=Missed.ALL,
            grace_ms=0,
            due_parameter="due_ms",
        )
        started_ms[name] = added.start_ms

    def have_run(times: int) -> bool:
        return all(
            schedules.get(name).last_due_ms >= start_ms + times * EVERY_MS
            for name, start_ms in started_ms.items()
        )

    wait_until(lambda: have_run(1), "a run of each schedule")
    kill_leader()
    wait_until(lambda: have_run(5), "runs after the change of the leader")
    expected: Counter[tuple[str, int]] = Counter()
    for name, start_ms in started_ms.items():
        last_ms = schedules.pause(name).last_due_ms
        due_times = range(start_ms + EVERY_MS, last_ms + 1, EVERY_MS)
        expected.update((name, due_ms) for due_ms in due_times)
    # A job that moves to done while the list is read is in it twice.
    jobs = {job.name: job for job in dispatcher.queue.jobs()}.values()
    assert Counter((j.parameters["name"], j.parameters["due_ms"]) for j in jobs) == expected
