"""The pages of queues on Apache ZooKeeper, with a real worker: a task fails, and is repaired."""

from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from tests.support.web import browsing, settings_of
from tests.support.web_jobs import ROOT, URL, ended, request, working
from zoolet.client import Client
from zoolet.jobs import Dispatcher, JobQueue, JobRequest, QueueSettings
from zoolet.testing import ApacheServer


@pytest.mark.parametrize("shards", [1, 3])
def test_queues_on_apache(apache_jars: Path, tmp_path: Path, shards: int) -> None:
    file = tmp_path / "file"
    with ApacheServer(tmp_path / "server", jars=apache_jars) as server:
        with Client(server.hosts) as zk:
            JobQueue(zk, ROOT).ensure_layout(QueueSettings(shards=shards))
        with (
            browsing(settings_of(server.hosts)) as web,
            Dispatcher(server.hosts, ROOT) as dispatcher,
            working(server.hosts, tmp_path) as worker,
        ):
            bad, good = ended(
                dispatcher, request("repaired", {"file": str(file)}), request("echo", {"n": 1})
            )
            later = dispatcher.submit("m:f", not_before_ms=2**42).names[0]
            dispatcher.submit_batch([JobRequest("m:f", not_before_ms=2**42)] * 60)
            [queue] = web.get("/c/local/jobs")["queues"]
            assert queue["jobs"] == {"unowned": 0, "deferred": 61, "owned": 0, "done": 2}
            found = web.get(URL)
            assert (found["newest_failed"], found["shards"]) == (1, shards)
            assert list(found["workers"]) == [worker.worker_id]
            [group] = web.get(f"{URL}/failures")["groups"]
            assert (group["kind"], group["newest"]) == ("FileNotFoundError", bad.name)
            first = web.get(f"{URL}/list?state=PENDING")
            more = web.get(f"{URL}/list?state=PENDING&after={first['after']}")
            assert (len(first["jobs"]), len(more["jobs"]), more["after"]) == (50, 11, None)
            assert "its start time is in" in web.get(f"{URL}/job/{later}")["why"]
            assert web.get(f"{URL}/job/{good.name}")["result"] == {"n": 1}
            assert "Traceback" in web.html(f"{URL}/job/{bad.name}")
            file.touch()
            dispatcher.queue.retry(bad.name)
            job = f"{URL}/job/{bad.name}"
            wait_until(lambda: web.get(job)["state"] == "SUCCESSFUL", "its success")
