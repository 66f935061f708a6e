"""Described datasets on a real server: their znodes, their groups in workers, their changes."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.jobs import ROOT, TIMEOUT_S, WorkerProcess, all_results
from zoolet.cli import main
from zoolet.jobs import (
    AsyncDispatcher,
    DatasetError,
    DatasetExistsError,
    Dispatcher,
    InvalidJobError,
    JobFailedError,
    MapResult,
    Origin,
    UnknownDatasetError,
    UnreadableJobError,
    Worker,
)

TASKS = """
def count(table, parameters):
    at_least = parameters.get("at_least", 0)
    values = table.column("x").to_pylist()
    return {"columns": table.column_names, "found": [x for x in values if x >= at_least]}

def fail_at(table, parameters):
    if parameters["at"] in table.column("x").to_pylist():
        raise ValueError("this group fails")
    return count(table, {})

def numbers(rows, parameters):
    return [row["n"] for row in rows]

def joined(results):
    return [number for result in results for number in result]

def texts(rows, parameters):
    return rows

def merge(results):
    return {
        "columns": results[0]["columns"],
        "found": [x for result in results for x in result["found"]],
    }
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "data_tasks.py").write_text(TASKS)
    return tmp_path / "code"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three files with the numbers 0 to 29, in row groups of four."""
    (tmp_path / "data").mkdir()
    for number in range(3):
        write(tmp_path / "data" / f"{number}.parquet", range(10 * number, 10 * number + 10))
    return tmp_path / "data"


@pytest.fixture
def worker(server: Any, tasks: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker in this process, without a loader."""
    monkeypatch.syspath_prepend(str(tasks))
    with Worker(server.hosts, ROOT, threads=True, executors=2, cache_groups=20) as running:
        yield running


def write(path: Path, numbers: Any) -> None:
    table = pa.table({"x": list(numbers), "y": [str(n) for n in numbers]})
    pq.write_table(table, path, row_group_size=4)


def test_a_dataset_is_created_described_refreshed_and_removed(
    dispatcher: Dispatcher, client: KazooClient, data: Path
) -> None:
    datasets = dispatcher.datasets
    assert datasets.names() == []
    created = datasets.create("numbers", "parquet", data)
    assert (created.record.groups, created.record.rows) == (9, 30)
    assert datasets.describe("numbers") == created
    assert datasets.names() == ["numbers"]
    assert datasets.records() == [created.record]
    with pytest.raises(DatasetExistsError, match="refresh it"):
        datasets.create("numbers", "parquet", data)
    before = client.get(f"{ROOT}/datasets/numbers")[1].version
    assert datasets.refresh("numbers") == created
    assert client.get(f"{ROOT}/datasets/numbers")[1].version == before, "nothing has changed"
    write(data / "1.parquet", range(3))
    refreshed = datasets.refresh("numbers")
    assert datasets.describe("numbers") == refreshed
    changed = [group for group in created.groups if group not in refreshed.groups]
    assert {group.groupid for group in changed} == {"1.parquet:0", "1.parquet:1", "1.parquet:2"}
    assert len(client.get_children(f"{ROOT}/datasets/numbers")) == 1, "the old list is deleted"
    datasets.remove("numbers")
    assert client.get_children(f"{ROOT}/datasets") == []
    for call in (datasets.remove, datasets.describe, datasets.refresh):
        with pytest.raises(UnknownDatasetError, match="describe it with zoolet jobs dataset add"):
            call("numbers")


def test_a_refresh_whose_data_cannot_be_read_changes_nothing(
    dispatcher: Dispatcher, data: Path
) -> None:
    created = dispatcher.datasets.create("numbers", "parquet", data)
    (data / "1.parquet").write_text("no Parquet")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        dispatcher.datasets.refresh("numbers")
    assert dispatcher.datasets.describe("numbers") == created


def test_a_description_that_was_not_completed_is_an_error_until_it_is_refreshed(
    dispatcher: Dispatcher, client: KazooClient, data: Path
) -> None:
    created = dispatcher.datasets.create("numbers", "parquet", data)
    [part] = client.get_children(f"{ROOT}/datasets/numbers")
    client.delete(f"{ROOT}/datasets/numbers/{part}")
    with pytest.raises(UnreadableJobError, match=r"incomplete: .* Refresh the dataset"):
        dispatcher.datasets.describe("numbers")
    assert dispatcher.datasets.refresh("numbers").groups == created.groups
    assert dispatcher.datasets.describe("numbers").groups == created.groups


def test_readers_see_one_whole_list_while_two_programs_refresh(
    server: Any, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    """A randomised test: files change, two programs refresh, and a third program reads."""
    chance = random.Random(7)
    place = tmp_path / "some"
    place.mkdir()
    (place / "a").write_text("a")
    dispatcher.datasets.create("some", "files", place)

    async def refresh(count: int) -> None:
        async with AsyncDispatcher(server.hosts, ROOT) as own:
            for _ in range(count):
                name = chance.choice("abcdef")
                if (place / name).exists() and name != "a":
                    (place / name).unlink()
                else:
                    (place / name).write_text("x" * chance.randrange(1000))
                await own.run(own.datasets.refresh, "some")

    async def read(until: list["asyncio.Task[None]"]) -> None:
        async with AsyncDispatcher(server.hosts, ROOT) as own:
            while not all(task.done() for task in until):
                found = await own.run(own.datasets.describe, "some")
                assert len(found.groups) == found.record.groups >= 1

    async def all_of_them() -> None:
        refreshing = [asyncio.create_task(refresh(20)) for _ in range(2)]
        await read(refreshing)
        await asyncio.gather(*refreshing)

    asyncio.run(all_of_them())
    assert {group.groupid for group in dispatcher.datasets.refresh("some").groups} == {
        path.name for path in place.iterdir()
    }


def test_a_worker_without_a_loader_loads_only_the_named_columns(
    dispatcher: Dispatcher, worker: Worker, data: Path
) -> None:
    assert worker.failure is None
    dispatcher.datasets.create("numbers", "parquet", data)
    result = dispatcher.map("data_tasks:count", "numbers", columns=["x"], reduce="data_tasks:merge")
    last = None
    for partial in result.partials(timeout_s=TIMEOUT_S):
        assert partial.share.rows == len(partial.value["found"])
        last = partial
    assert last is not None
    assert last.is_complete
    assert sorted(last.value["found"]) == list(range(30))
    assert last.value["columns"] == ["x"]


def test_jobs_on_the_workers_merge_all_results_in_a_tree(
    dispatcher: Dispatcher, worker: Worker, tmp_path: Path
) -> None:
    assert worker.failure is None
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "a.parquet", range(150))
    dispatcher.datasets.create("numbers", "parquet", tmp_path / "data")

    def ask(name: str) -> MapResult:
        return dispatcher.map("data_tasks:count", "numbers", reduce="data_tasks:merge", name=name)

    result = ask("first")
    assert result.merged is not None
    assert sorted(result.value(TIMEOUT_S)["found"]) == list(range(150))
    assert result.value() == result.value()
    assert dispatcher.batch("first-merged").names == result.merged.names
    again = ask("again")
    assert again.merged is not None
    assert again.batch.count(Origin.STORED) == 38
    assert again.merged.count(Origin.STORED) == 1
    assert again.value(TIMEOUT_S) == result.value()


def test_all_jobs_of_a_map_have_its_tags_and_its_limit_key(
    dispatcher: Dispatcher, server: Any, data: Path
) -> None:
    dispatcher.datasets.create("numbers", "parquet", data)
    result = dispatcher.map(
        "data_tasks:count", "numbers", reduce="data_tasks:merge", tags=["gpu"], limit_key="ada"
    )

    async def ask() -> list[str]:
        async with AsyncDispatcher(server.hosts, ROOT) as asynchronous:
            found = await asynchronous.map(
                "data_tasks:count", "numbers", tags=["gpu"], limit_key="ada", reuse=False
            )
            return [submission.name for submission in found.batch.submissions]

    assert result.merged is not None
    names = [*result.batch.names, *result.merged.names, *asyncio.run(ask())]
    jobs = [dispatcher.queue.find(name) for name in names]
    assert {(job.tags, job.limit_key) for job in jobs} == {(("gpu",), "ada")}


def test_a_failed_job_fails_the_merged_result(
    dispatcher: Dispatcher, worker: Worker, data: Path
) -> None:
    assert worker.failure is None
    dispatcher.datasets.create("numbers", "parquet", data)
    result = dispatcher.map(
        "data_tasks:fail_at", "numbers", {"at": 20}, reduce="data_tasks:merge", max_attempts=1
    )
    for _ in range(2):
        with pytest.raises(JobFailedError):
            result.value(TIMEOUT_S)
    with pytest.raises(JobFailedError, match="this group fails"):
        list(result.partials(timeout_s=TIMEOUT_S))
    without = dispatcher.map("data_tasks:count", "numbers")
    with pytest.raises(InvalidJobError, match="nothing to merge"):
        without.value()


@pytest.mark.parametrize("seed", [1, 2])
def test_each_group_is_counted_once_although_workers_are_killed(
    seed: int,
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A randomised test: workers are killed while two programs ask overlapping questions."""
    monkeypatch.syspath_prepend(str(tasks))
    chance = random.Random(seed)
    (tasks / "pipe_tasks.py").write_text("def load(dataset, groupid): raise ValueError\n")
    lines = "".join(json.dumps({"n": n}) + "\n" for n in range(40))
    (tmp_path / "rows.jsonl").write_text(lines)
    dispatcher.datasets.create("rows", "jsonl", tmp_path / "rows.jsonl", {"bytes_per_group": 1})
    results = [
        dispatcher.map("data_tasks:numbers", "rows", {}, reduce="data_tasks:joined")
        for _ in range(2)
    ]
    assert results[1].batch.count(Origin.NEW) == 0
    workers = [start_worker("--executors", "2") for _ in range(2)]
    partials = [result.partials(every_s=0.0, timeout_s=TIMEOUT_S) for result in results]
    for _ in range(2):
        partial = next(partials[0])
        assert len(set(partial.value)) == len(partial.value) == partial.share.rows
        workers.pop(chance.randrange(len(workers))).kill()
        workers.append(start_worker("--executors", "2"))
    for found in partials:
        for partial in found:
            assert len(set(partial.value)) == len(partial.value) == partial.share.rows
        assert sorted(partial.value) == list(range(40))
    for result in results:
        assert sorted(result.value(TIMEOUT_S)) == list(range(40))


def test_results_and_loaded_groups_of_an_old_content_are_not_used(
    dispatcher: Dispatcher, worker: Worker, data: Path
) -> None:
    assert worker.failure is None
    dispatcher.datasets.create("numbers", "parquet", data)

    def answer(at_least: int) -> tuple[list[int], int, int]:
        result = dispatcher.map("data_tasks:count", "numbers", {"at_least": at_least})
        jobs = all_results(result.batch)
        found = [x for job in jobs for x in job.result["found"]]
        hits = sum(job.cache_hit is True for job in jobs)
        return sorted(found), result.batch.count(Origin.STORED), hits

    assert answer(0) == (list(range(30)), 0, 0)
    found, stored, _ = answer(0)
    assert (found, stored) == (list(range(30)), 9)
    assert answer(5)[:2] == (list(range(5, 30)), 0)
    write(data / "1.parquet", [100])
    found, stored, _ = answer(0)
    assert found == [*range(10), *range(20, 30), 100]
    assert stored == 6
    assert answer(5)[0] == [*range(5, 10), *range(20, 30), 100]


def test_a_job_for_an_old_content_fails_with_a_message(
    dispatcher: Dispatcher, worker: Worker, data: Path
) -> None:
    assert worker.failure is None
    dispatcher.datasets.create("numbers", "parquet", data)
    write(data / "1.parquet", [100])
    result = dispatcher.map("data_tasks:count", "numbers", refresh=False, max_attempts=1)
    jobs = all_results(result.batch)
    failed = [job for job in jobs if job.state == "FAILED"]
    assert len(failed) == 3
    for job in failed:
        assert "has changed since the dataset was described" in job.errors[-1].message


def test_a_worker_process_with_another_loader_uses_the_description(
    dispatcher: Dispatcher, start_worker: Callable[..., WorkerProcess], tasks: Path, tmp_path: Path
) -> None:
    (tasks / "pipe_tasks.py").write_text("def load(dataset, groupid): raise ValueError\n")
    start_worker()
    (tmp_path / "rows.csv").write_text('a,b\n1,"x\ny"\n2,z\n')
    dispatcher.datasets.create("rows", "csv", tmp_path / "rows.csv", {"bytes_per_group": 1})
    result = dispatcher.map("data_tasks:texts", "rows", columns=["b"])
    assert [job.result for job in sorted(all_results(result.batch))] == [
        [{"b": "x\ny"}],
        [{"b": "z"}],
    ]


def test_nothing_is_submitted_for_invalid_arguments(dispatcher: Dispatcher, data: Path) -> None:
    dispatcher.datasets.create("numbers", "parquet", data)
    with pytest.raises(UnknownDatasetError):
        dispatcher.map("data_tasks:count", "other")
    with pytest.raises(InvalidJobError, match="lambda"):
        dispatcher.map("data_tasks:count", "numbers", reduce=lambda results: results)
    with pytest.raises(InvalidJobError, match="pass a list of names"):
        dispatcher.map("data_tasks:count", "numbers", columns="x")
    assert dispatcher.queue.counts()["unowned"] == 0


def test_a_map_in_asynchronous_code(
    server: Any, dispatcher: Dispatcher, worker: Worker, data: Path
) -> None:
    assert worker.failure is None
    dispatcher.datasets.create("numbers", "parquet", data)

    async def ask() -> list[int]:
        async with AsyncDispatcher(server.hosts, ROOT) as own:
            result = await own.map("data_tasks:count", "numbers", reduce="data_tasks:merge")
            found = [partial async for partial in result.partials(timeout_s=TIMEOUT_S)]
            assert sorted((await result.value(TIMEOUT_S))["found"]) == list(range(30))
            return sorted(found[-1].value["found"])

    assert asyncio.run(ask()) == list(range(30))


def test_the_commands(server: Any, dispatcher: Dispatcher, data: Path) -> None:
    assert dispatcher.datasets.names() == []

    def run(*arguments: str) -> list[str]:
        target = ["--server", server.hosts, "--queue", ROOT]
        result = CliRunner().invoke(main, ["jobs", "dataset", *arguments, *target])
        assert result.exit_code == 0, result.output
        return result.output.splitlines()

    [line] = run("add", "numbers", str(data), "--loader", "parquet", "--option", "version=content")
    assert line.split("\t")[:2] == ["numbers", "parquet"]
    assert run("list") == [line]
    shown = run("show", "numbers")
    assert len(shown) == 10
    assert shown[1].startswith("0.parquet:0\t4 rows\t")
    write(data / "3.parquet", [1])
    assert "10 groups" in run("refresh", "numbers")[0]
    assert json.loads(run("list", "--output", "json")[0])["groups"] == 10
    assert run("remove", "numbers") == ["removed: numbers"]
    assert run("list") == []
    failed = CliRunner().invoke(
        main,
        [
            "jobs",
            "dataset",
            "add",
            "n",
            str(data),
            "--loader",
            "csv",
            "--option",
            "pattern",
            "--server",
            server.hosts,
            "--queue",
            ROOT,
        ],
    )
    assert "'pattern' is not of the form NAME=VALUE" in failed.output
