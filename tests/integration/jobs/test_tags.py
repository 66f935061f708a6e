"""Jobs that require tags run only on workers that have them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.jobs import WorkerProcess, all_results, numbered, write_tasks
from zoolet.jobs import Dispatcher, InvalidJobError, JobRequest, Worker
from zoolet.jobs.overview.overview import explain_job
from zoolet.jobs.records.transitions import Place


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write_tasks(tmp_path)
    return tmp_path


def test_a_job_runs_on_a_worker_that_has_its_tags(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess]
) -> None:
    plain = start_worker()
    wanted = [
        JobRequest("pipe_tasks:number", parameters={"n": n}, tags=["gpu", "large"], priority=9)
        for n in range(3)
    ]
    batch = dispatcher.submit_batch(wanted)
    others = dispatcher.submit_batch(numbered(20))
    assert {job.worker for job in all_results(others)} == {plain.worker_id}
    assert dispatcher.queue.counts()["unowned"] == 3
    waiting = dispatcher.job(batch.names[0])
    assert waiting.tags == ("gpu", "large")
    said = "no worker has the tags that it requires (gpu, large): start zoolet worker --tag gpu"
    assert said in explain_job(dispatcher.queue, waiting)
    start_worker("--tag", "gpu")
    assert said in explain_job(dispatcher.queue, waiting)
    tagged = start_worker("--tag", "large", "--tag", "gpu", "--tag", "more")
    assert {job.worker for job in all_results(batch)} == {tagged.worker_id}


def test_a_worker_reads_a_job_that_it_cannot_take_one_time(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    dispatcher.submit_batch([JobRequest("pipe_tasks:number", tags=["gpu"]) for _ in range(5)])
    steps = tmp_path / "steps"
    (tmp_path / "noting.py").write_text(
        "import pathlib\n"
        "def note(step, names):\n"
        f"    with pathlib.Path({str(steps)!r}).open('a') as file:\n"
        "        file.writelines(f'{step} {name}\\n' for name in names)\n"
    )
    start_worker("--on-step", "noting:note")
    for number in range(5):
        all_results(dispatcher.submit_batch(numbered(2, round=number)))
    lines = steps.read_text().splitlines()
    waiting = [name.name for name in dispatcher.queue.layout.names(Place.UNOWNED)]
    assert len(waiting) == 5
    assert [lines.count(f"taking {name}") for name in waiting] == [1] * 5


def test_another_program_takes_jobs_whatever_tags_they_require(dispatcher: Dispatcher) -> None:
    queue = dispatcher.queue
    queue.register("w")
    [name] = dispatcher.submit("m:f", tags=["gpu"]).names
    assert [job.name for job in queue.own_jobs([name], "w", tags=[]).unsuitable] == [name]
    assert [job.name for job in queue.own_jobs([name], "w").owned] == [name]


@pytest.mark.parametrize("tags", [[""], "gpu", ["x" * 101], ["x"] * 17, [1]])
def test_invalid_tags_are_refused(dispatcher: Dispatcher, tags: list[str]) -> None:
    with pytest.raises(InvalidJobError, match="tags"):
        dispatcher.submit("m:f", tags=tags)
    with pytest.raises(InvalidJobError, match="tags"):
        Worker("127.0.0.1:1", "/q", tags=tags)
    assert dispatcher.queue.counts()["unowned"] == 0
