"""Lists of allowed tasks and loaders: what they do not allow is not imported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, WorkerProcess, all_results, next_result, write_tasks
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.jobs import (
    DatasetError,
    Dispatcher,
    FunctionNotFoundError,
    InvalidJobError,
    JobError,
    JobRequest,
    JobState,
    Worker,
)
from zoolet.jobs.overview.overview import explain_job
from zoolet.jobs.records.task_names import MERGE_TASK
from zoolet.jobs.records.transitions import Place

StartWorker = Callable[..., WorkerProcess]

EVIL = """
import pathlib
(pathlib.Path(__file__).parent / "imported").touch()

def run(*arguments):
    return "ran"
"""
MAIL = """
from subprocess import run
from zoolet.jobs import task

def send(group, parameters):
    return "sent"

@task
def decorated(n: int) -> int:
    return n + 1

def merge(results):
    return sum(results)
"""
SHOP = """
import json
import pathlib

from zoolet.jobs import DatasetGroup

class Orders:
    "Each line of a file is a group."

    def list_groups(self, location, options, known):
        lines = pathlib.Path(location).read_text().splitlines()
        return [
            DatasetGroup(str(n), line, 1, len(line), {"file": location, "line": n})
            for n, line in enumerate(lines)
        ]

    def load(self, position, columns, options):
        line = pathlib.Path(position["file"]).read_text().splitlines()[position["line"]]
        return {"line": line, "columns": columns, "options": options}

def as_function():
    return Orders()

def no_loader():
    return object()

def wrong_groups():
    loader = Orders()
    loader.list_groups = lambda *_: [("only an id",)]
    return loader

def show(group, parameters):
    return group

def count(group, parameters):
    return len(group["line"])

def add(results):
    return sum(results)
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tasks(tmp_path)
    for name, text in (("evil", EVIL), ("mail", MAIL), ("shop_data", SHOP)):
        (tmp_path / f"allowed_{name}.py").write_text(text)
    (tmp_path / "orders").write_text("one\ntwo\nthree\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def source_of(loader: str) -> dict[str, Any]:
    return {"loader": loader, "options": {}, "columns": None, "version": "1", "position": {}}


@pytest.mark.parametrize("kind", [(), ("--threads",), ("--async-concurrency", "2")])
def test_a_job_that_is_not_allowed_waits_and_nothing_of_it_is_imported(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, kind: tuple[str, ...]
) -> None:
    refused = [
        JobRequest("allowed_evil:run", priority=9),
        JobRequest("allowed_mail:subprocess.run", priority=9),
        JobRequest("report", priority=9),
        JobRequest(MERGE_TASK, parameters={"function": "allowed_evil:run", "results": []}),
        JobRequest(
            "allowed_mail:send", dataset="d", groupid="1", source=source_of("allowed_evil:run")
        ),
    ]
    batch = dispatcher.submit_batch(refused)
    start_worker("--tasks", "allowed_mail:*", *kind, loader=None)
    good = [
        JobRequest("allowed_mail:send"),
        JobRequest("allowed_mail:decorated", None, None, {"n": 1}),
    ]
    jobs = all_results(dispatcher.submit_batch(good * 5))
    assert {job.result for job in jobs} == {"sent", 2}
    assert dispatcher.queue.counts()["unowned"] == len(refused)
    whys = [explain_job(dispatcher.queue, dispatcher.job(name)) for name in batch.names]
    assert ["no worker allows it" in why for why in whys] == [True] * len(refused)
    assert "the task 'allowed_evil:run' is not allowed by --tasks allowed_mail:*" in whys[0]
    assert "only built-in loaders are allowed" in whys[4]
    assert not (tasks / "imported").exists()
    other = start_worker("--tasks", "allowed_evil:*", "--tasks", "report", loader=None)
    evil = next_result(batch)
    assert (evil.result, evil.worker) == ("ran", other.worker_id)


def test_a_worker_reads_a_job_that_it_does_not_allow_one_time(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path
) -> None:
    steps = tasks / "steps"
    (tasks / "noting.py").write_text(
        "import pathlib\n"
        "def note(step, names):\n"
        f"    with pathlib.Path({str(steps)!r}).open('a') as file:\n"
        "        file.writelines(f'{step} {name}\\n' for name in names)\n"
    )
    refused = dispatcher.submit_batch([JobRequest("allowed_evil:run") for _ in range(5)])
    start_worker("--tasks", "allowed_mail:send", "--on-step", "noting:note", loader=None)
    for _ in range(5):
        all_results(dispatcher.submit_batch([JobRequest("allowed_mail:send") for _ in range(4)]))
    lines = steps.read_text().splitlines()
    assert [lines.count(f"taking {name}") for name in refused.names] == [1] * 5
    assert {name.name for name in dispatcher.queue.layout.names(Place.UNOWNED)} == set(
        refused.names
    )


@pytest.mark.parametrize("kind", [(), ("--threads",)])
def test_a_function_that_a_module_has_only_imported_fails_its_job(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, kind: tuple[str, ...]
) -> None:
    start_worker("--tasks", "allowed_mail:*", "--loaders", "allowed_mail:*", *kind, loader=None)
    marker = tasks / "marker"
    command = ["touch", str(marker)]
    source = source_of("allowed_mail:run")
    requests = [
        JobRequest("allowed_mail:run"),
        JobRequest(MERGE_TASK, parameters={"function": "allowed_mail:run", "results": command}),
        JobRequest("allowed_mail:send", "d", "1", source=source, max_attempts=1),
    ]
    for job in all_results(dispatcher.submit_batch(requests)):
        assert (job.state, job.attempts) == (JobState.FAILED, 1)
        assert "'allowed_mail:run' is not defined in 'allowed_mail', but in subprocess" in (
            job.last_error
        )
    assert not marker.exists()
    merged = JobRequest(
        MERGE_TASK, parameters={"function": "allowed_mail:merge", "results": [1, 2]}
    )
    assert next_result(dispatcher.submit_batch([merged])).result == 3


def test_a_loader_of_the_user_lists_and_loads_groups(
    dispatcher: Dispatcher, start_worker: StartWorker, tasks: Path, server: Any
) -> None:
    start_worker("--tasks", "allowed_shop_data:*", "--loaders", "allowed_shop_data:*", loader=None)
    for name, loader in (("orders", "Orders"), ("same", "as_function")):
        found = dispatcher.datasets.create(
            name, f"allowed_shop_data:{loader}", tasks / "orders", {"any": [1]}
        )
        assert [group.groupid for group in found.groups] == ["0", "1", "2"]
    with pytest.raises(DatasetError, match="which this program may not import"):
        dispatcher.map("allowed_shop_data:count", "orders")
    with pytest.raises(DatasetError, match=r"Dispatcher\(loaders="):
        dispatcher.map("allowed_shop_data:count", "orders", refresh=False)
    with Dispatcher(server.hosts, ROOT, loaders=["allowed_shop_data:*"]) as allowing:
        result = allowing.map("allowed_shop_data:count", "orders", reduce="allowed_shop_data:add")
        assert result.value(60) == len("onetwothree")
        shown = allowing.map("allowed_shop_data:show", "orders", columns=["b", "a"])
        assert {json.dumps(job.result) for job in all_results(shown.batch)} == {
            json.dumps({"line": line, "columns": ["a", "b"], "options": {"any": [1]}})
            for line in ("one", "two", "three")
        }
        (tasks / "orders").write_text("one\ntwo\n")
        assert len(allowing.datasets.refresh("orders").groups) == 2


@pytest.mark.parametrize(
    ("loader", "kind", "message"),
    [
        ("allowed_shop_data:no_loader", DatasetError, "has no method list_groups"),
        ("allowed_shop_data:wrong_groups", DatasetError, "did not return a list of DatasetGroup"),
        ("allowed_shop_data:nothing", FunctionNotFoundError, "cannot be imported"),
        ("nothing", InvalidJobError, "there is no loader 'nothing'"),
    ],
)
def test_a_loader_that_is_none_is_refused(
    dispatcher: Dispatcher, tasks: Path, loader: str, kind: type[JobError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        dispatcher.datasets.create("d", loader, tasks / "orders")
    assert dispatcher.datasets.names() == []


def test_a_changed_description_imports_nothing_in_the_program_that_refreshes_it(
    dispatcher: Dispatcher, client: KazooClient, tasks: Path, server: Any
) -> None:
    dispatcher.datasets.create("orders", "allowed_shop_data:Orders", tasks / "orders")
    path = f"{ROOT}/datasets/orders"
    value = json.loads(client.get(path)[0]) | {"loader": "allowed_evil:run"}
    client.set(path, json.dumps(value).encode())
    with Dispatcher(server.hosts, ROOT, loaders=["allowed_shop_data:*"]) as allowing:
        for call in (allowing.datasets.refresh, lambda name: allowing.map("m:f", name)):
            with pytest.raises(DatasetError, match="'allowed_evil:run', which this program may"):
                call("orders")
    target = ["--server", server.hosts, "--queue", ROOT]
    refused = CliRunner().invoke(main, ["jobs", "dataset", "refresh", "orders", *target])
    assert (refused.exit_code, "--loaders" in refused.output) == (1, True)
    assert not (tasks / "imported").exists()
    client.set(path, json.dumps(value | {"loader": "allowed_shop_data:Orders"}).encode())
    done = CliRunner().invoke(
        main,
        ["jobs", "dataset", "refresh", "orders", *target, "--loaders", "allowed_shop_data:Orders"],
    )
    assert done.exit_code == 0, done.output


def test_a_report_of_another_program_does_not_end_an_overview(
    dispatcher: Dispatcher, client: KazooClient
) -> None:
    [name] = dispatcher.submit("m:f").names
    reports: list[dict[str, Any]] = [{"tasks": 7}, {"tasks": ["a:b:c"]}, {"loaders": {"x": 1}}]
    for value in [*reports, {"tasks": []}]:
        path = f"{ROOT}/workers/odd"
        client.create(path, json.dumps(value).encode(), ephemeral=True)
        why = explain_job(dispatcher.queue, dispatcher.job(name))
        assert ("no worker allows it" in why) == (value == {"tasks": []})
        client.delete(path)


@pytest.mark.parametrize("options", [{"tasks": "mail:*"}, {"loaders": [""]}, {"tasks": ["a:b:c"]}])
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError, match="patterns like mail"):
        Worker("127.0.0.1:1", "/q", **options)
    with pytest.raises(InvalidJobError, match="accept_unsigned is only for"):
        Worker("127.0.0.1:1", "/q", accept_unsigned=True)


def test_executors_refuse_a_job_although_the_worker_has_taken_it(
    dispatcher: Dispatcher, server: Any, tasks: Path
) -> None:
    """The worker's own check is removed: the executor checks again."""
    with Worker(server.hosts, ROOT, tasks=["allowed_mail:*"]) as worker:
        worker.queue.taker.screen = None
        job = next_result(dispatcher.submit("allowed_evil:run"))
        assert (job.state, job.attempts) == (JobState.FAILED, 1)
        assert "is not allowed by --tasks allowed_mail:*" in job.last_error
        wait_until(lambda: worker.in_hand == 0, "the end of the job")
    assert not (tasks / "imported").exists()
