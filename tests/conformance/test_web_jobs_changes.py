"""Batches, workers, changes of jobs and schedules on Apache ZooKeeper, with a real worker."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until
from tests.support.web import Browser, browsing, settings_of, users_file
from tests.support.web_jobs import ROOT, URL, request, working
from zoolet.client import Client
from zoolet.jobs import Dispatcher, JobQueue, JobRequest, JobState, QueueSettings
from zoolet.testing import ApacheServer


def result_of(web: Browser, started: Any) -> Any:
    """Wait for the end of an operation; return its result."""
    wait_until(lambda: web.get(started["page"])["state"] != "running", "the end of the operation")
    found = web.get(started["page"])
    assert found["state"] == "done", found
    return found["result"]


@pytest.mark.parametrize("shards", [1, 3])
def test_jobs_are_changed_on_apache(apache_jars: Path, tmp_path: Path, shards: int) -> None:
    file = tmp_path / "file"
    with ApacheServer(tmp_path / "server", jars=apache_jars) as server:
        with Client(server.hosts) as zk:
            JobQueue(zk, ROOT).ensure_layout(QueueSettings(shards=shards))
        settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
        with (
            browsing(settings) as web,
            Dispatcher(server.hosts, ROOT) as dispatcher,
            working(server.hosts, tmp_path) as worker,
        ):
            web.log_in("ed")
            requests = [request("repaired", {"file": str(file), "n": n}) for n in range(55)]
            batch = dispatcher.submit_batch(requests, name="many")
            for _ in batch.results(timeout_s=60):
                pass
            [shown] = web.get(f"{URL}/workers")["workers"]
            assert shown["worker"] == worker.worker_id
            counted = result_of(
                web, web.post(f"{URL}/count", {"change": "retry", "error": "FileNotFound"})
            )
            assert counted["jobs"] == 55
            file.touch()
            fields = {"change": "retry", "at_ms": counted["at_ms"], "jobs": counted["jobs"]}
            made = result_of(web, web.post(f"{URL}/change", fields | counted["filter"]))
            assert (made["jobs"], made["left_out"]) == (55, 0)
            wait_until(
                lambda: web.get(f"{URL}/batch/many")["batch"]["states"]["SUCCESSFUL"] == 55,
                "the retried jobs",
            )
            web.post(f"{URL}/pause", {"kind": "task", "name": "web_tasks:echo"})
            [name] = dispatcher.submit_request(request("echo")).names
            wait_until(
                lambda: web.get(f"{URL}/changes")["pauses"][0]["waiting"] == 1, "a paused job"
            )
            [pause] = web.get(f"{URL}/changes")["pauses"]
            web.post(f"{URL}/resume", {"kind": pause["kind"], "name": pause["name"]})
            wait_until(
                lambda: dispatcher.queue.find(name).state is JobState.SUCCESSFUL, "the paused job"
            )
            dispatcher.schedules.add("nightly", JobRequest("m:f"), every_ms=10**9)
            web.post(f"{URL}/schedules/pause", {"schedule": "nightly"})
            assert web.get(f"{URL}/schedules")["schedules"][0]["paused"] is True
            assert web.get(f"{URL}/graph/many")["after"]["followers"] == []
