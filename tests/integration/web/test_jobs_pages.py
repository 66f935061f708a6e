"""The pages of queues with a real worker: numbers, lists, one job, failures, hostile values."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.waiting import wait_until
from tests.support.web import Browser, browsing, settings_of
from tests.support.web_jobs import HOSTILE, ROOT, URL, ended, request, working
from zoolet.client import Client
from zoolet.jobs import Dispatcher, JobQueue, JobRequest, Limit, QueueSettings
from zoolet.testing import EmbeddedServer, ServerProcess


@pytest.fixture
def web(server: EmbeddedServer) -> Iterator[Browser]:
    with browsing(settings_of(server.hosts)) as browser:
        yield browser


@pytest.fixture
def dispatcher(server: EmbeddedServer, zk: Client) -> Iterator[Dispatcher]:
    """A dispatcher on a new queue, which ends with the test."""
    assert zk.exists("/jobs") is None
    with Dispatcher(server.hosts, ROOT, create=True) as opened:
        yield opened


def url_of(job: str) -> str:
    return f"{URL}/job/{job}"


def test_queues_are_listed_with_their_numbers(
    web: Browser, dispatcher: Dispatcher, zk: Client
) -> None:
    dispatcher.submit_batch([JobRequest("m:f")] * 3)
    dispatcher.queue.pause("late")
    zk.create("/jobs/<b>team")
    found = web.get("/c/local/jobs")
    assert (found["total"], found["root"], found["is_queue"]) == (2, "/jobs", False)
    [team, flights] = found["queues"]
    assert team == {"name": "<b>team", "is_queue": False, "error": ""}
    assert flights["jobs"] == {"unowned": 3, "deferred": 0, "owned": 0, "done": 0}
    assert flights["paused"] == "paused datasets: late"
    page = web.html("/c/local/jobs")
    assert f'href="{URL}"' in page
    assert "/c/local/jobs?root=/jobs/%3Cb%3Eteam" in page
    assert "<b>team" not in page
    assert web.get("/c/local/jobs?filter=FLI")["total"] == 1
    assert web.get("/c/local/jobs?root=/jobs/flights")["is_queue"] is True


def test_a_cluster_may_have_no_queues(web: Browser, zk: Client) -> None:
    assert zk.exists("/jobs") is None
    assert web.get("/c/local/jobs")["queues"] == []
    assert "There is no queue below" in web.html("/c/local/jobs")
    web.get("/c/local/jobs?root=/none", 404)
    web.get("/c/local/jobs?root=none", 400)
    web.get("/c/local/jobs/none", 404)


def test_a_queue_elsewhere_has_a_url_too(server: EmbeddedServer, web: Browser, zk: Client) -> None:
    for path in ("/apps/a b/q?", "/apps/x%2Fy"):
        JobQueue(zk, path).ensure_layout()
    assert web.get("/c/local/jobs/q%3F?root=/apps/a%20b")["queue"] == "/apps/a b/q?"
    page = web.html("/c/local/jobs/q%3F?root=/apps/a%20b")
    assert 'href="/c/local/jobs/q%3F/list?root=%2Fapps%2Fa+b"' in page
    assert "/c/local/jobs/x%252Fy?root=%2Fapps" in web.html("/c/local/jobs?root=/apps")
    with browsing(settings_of(f"{server.hosts}/apps/x%2Fy")) as inside:
        assert inside.get("/c/local/jobs?root=/")["is_queue"] is True
        assert "/c/local/jobs/queue?root=" in inside.html("/c/local/jobs?root=/")
        assert inside.get("/c/local/jobs/queue?root=")["queue"] == "/"


def test_a_queue_shows_numbers_and_why_a_job_waits(web: Browser, dispatcher: Dispatcher) -> None:
    requests = [JobRequest("m:f", priority=number) for number in (1, 5, 5)]
    names = dispatcher.submit_batch(requests).names
    dispatcher.submit("m:f", not_before_ms=2**42)
    found = web.get(URL)
    assert found["jobs"] == {"unowned": 3, "deferred": 1, "owned": 0, "done": 0}
    assert [row["priority"] for row in found["by_priority"]] == [5, 1, 0]
    assert [row["unowned"] for row in found["by_priority"]] == [2, 1, 0]
    assert found["oldest"]["job"] in names
    assert found["oldest"]["why"] == "the queue has no worker: start zoolet worker"
    assert [chart["title"] for chart in found["charts"]] == [
        "Jobs that have not ended",
        "Throughput",
    ]
    page = web.html(URL)
    assert "the queue has no worker" in page
    part = web.client.get(URL, headers={"X-Part": "numbers"}).text
    assert "<html" not in part
    assert "the queue has no worker" in part


def test_a_queue_shows_its_limits(
    server: EmbeddedServer, web: Browser, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    dispatcher.queue.limits.add(Limit("one <b>", concurrent=1, task="web_tasks:waits"))
    requests = [request("waits", {"file": str(tmp_path / "file"), "n": n}) for n in range(3)]
    with working(server.hosts, tmp_path):
        names = dispatcher.submit_batch(requests).names

        def states() -> list[str]:
            return sorted(web.get(url_of(name))["why"].split()[0] for name in names)

        wait_until(lambda: states() == ["it", "it", "worker"], "two jobs wait for the limit")
        [why, *_] = [
            found["why"]
            for found in (web.get(url_of(name)) for name in names)
            if found["state"] == "PENDING"
        ]
        assert why.startswith("it waits for the limit one <b>")
        with browsing(settings_of(server.hosts)) as new:
            [limit] = new.get(URL)["limits"]
            assert (limit["name"], limit["running"], limit["waiting"]) == ("one <b>", 1, 2)
            assert "one &lt;b&gt;" in new.html(URL)
            [job] = new.get(URL)["running"]
            assert job["job"] in names
            assert new.get(URL)["states"]["RUNNING"] == 1
        (tmp_path / "file").touch()
        wait_until(
            lambda: all(web.get(url_of(name))["state"] == "SUCCESSFUL" for name in names), "ends"
        )


def test_a_failing_task_is_found_and_explained(
    server: EmbeddedServer, web: Browser, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    with working(server.hosts, tmp_path) as worker:
        bad, good, wrong, late = ended(
            dispatcher,
            request("repaired", {"file": str(file)}),
            request("echo", {"n": 1}),
            request("wrong"),
            request("repaired", {"file": str(file)}, priority=9),
        )
        found = web.get(URL)
        assert found["newest_failed"] == 3
        assert {job["job"] for job in found["failed"]} == {bad.name, wrong.name, late.name}
        assert list(found["workers"]) == [worker.worker_id]
        groups = web.get(f"{URL}/failures")
        assert (groups["read"], groups["failed"]) == (4, 3)
        assert [(group["task"], group["kind"], group["jobs"]) for group in groups["groups"]] == [
            ("web_tasks:repaired", "FileNotFoundError", 2),
            ("web_tasks:wrong", "ValueError", 1),
        ]
        assert groups["groups"][0]["newest"] in {bad.name, late.name}
        page = web.html(f"{URL}/failures")
        link = f"{URL}/list?state=FAILED&amp;task=web_tasks%3Arepaired&amp;error=FileNotFoundError"
        assert link in page
        listed = web.get(link.replace("&amp;", "&"))
        assert {job["job"] for job in listed["jobs"]} == {bad.name, late.name}
        shown = web.get(url_of(bad.name))
        assert shown["state"] == "FAILED"
        assert shown["why"].startswith("it has failed: FileNotFoundError")
        [attempt] = shown["tried"]
        assert (attempt["attempt"], attempt["worker"]) == (1, worker.worker_id)
        assert "Traceback" in attempt["errors"][0]["message"]
        assert attempt["output"].startswith("looks for the file <img")
        for text in (page, web.html(url_of(bad.name)), web.html(f"{URL}/list"), web.html(URL)):
            assert "<img" not in text
            assert "\x1b" not in text
            assert "\u202e" not in text
            assert "{{7*7}}" in text or "49" not in text
        assert web.get(url_of(good.name))["result"] == {"n": 1}
        file.touch()
        dispatcher.queue.retry(bad.name)
        wait_until(lambda: web.get(url_of(bad.name))["state"] == "SUCCESSFUL", "its success")
        assert web.get(url_of(bad.name))["result"] == {"found": True}
        assert web.get(f"{URL}/failures")["failed"] == 2


@pytest.mark.parametrize("shards", [1, 4])
def test_jobs_are_listed_by_filters_page_by_page(
    web: Browser, dispatcher: Dispatcher, zk: Client, shards: int
) -> None:
    if shards > 1:
        zk.delete_recursive(ROOT)
        JobQueue(zk, ROOT).ensure_layout(QueueSettings(shards=shards))
    with_shards = Dispatcher(zk, ROOT) if shards > 1 else dispatcher
    requests = [
        JobRequest(f"m:f{number % 2}", f"d{number % 3}", str(number), priority=number % 4)
        for number in range(130)
    ]
    batch = with_shards.submit_batch(requests)
    cancelled = with_shards.queue.cancel(batch.names[:60], "no longer needed")
    assert len(cancelled) == 60

    def all_of(query: str) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = []
        found = web.get(f"{URL}/list?{query}")
        while True:
            jobs += found["jobs"]
            if found["after"] is None:
                return jobs
            assert len(found["jobs"]) <= 50
            found = web.client.get(
                f"{URL}/list?{query}",
                params={**dict(part.split("=") for part in query.split("&") if part),
                        "after": found["after"]},
                headers={"Accept": "application/json"},
            ).json()  # fmt: skip

    names = [job["job"] for job in all_of("")]
    assert sorted(names) == sorted(batch.names)
    assert [job["state"] for job in all_of("")] == ["PENDING"] * 70 + ["FAILED"] * 60
    assert len(all_of("state=FAILED")) == 60
    by_number = dict(zip(batch.names, range(130), strict=True))
    assert {by_number[job["job"]] for job in all_of("dataset=d1")} == set(range(1, 130, 3))
    assert {by_number[job["job"]] for job in all_of("state=PENDING&task=m:f0")} == set(
        range(60, 130, 2)
    )
    assert len(all_of("error=longer")) == 60
    assert all_of("error=LONGER") == []
    assert len(all_of(f"batch={batch.name}")) == (130 if batch.name else 0)
    if shards > 1:
        with_shards.close()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("state=NONE", "state must be one of"),
        ("after=x", "the position of the search is not valid"),
        ("after=done/0//entry-000-d:1-000001&state=PENDING", "the position of the search"),
        ("after=unowned/0/a-b/entry-000-d:1-000001", "the position of the search"),
        ("after=unowned/0//none", "the position of the search"),
    ],
)
def test_a_wrong_filter_is_explained(
    web: Browser, dispatcher: Dispatcher, query: str, text: str
) -> None:
    del dispatcher
    assert text in web.get(f"{URL}/list?{query}", 400)["error"]


def test_a_position_counts_also_after_its_job_has_left(
    web: Browser, dispatcher: Dispatcher
) -> None:
    batch = dispatcher.submit_batch([JobRequest("m:f", "d", str(n)) for n in range(120)])
    first = web.get(f"{URL}/list?state=PENDING")
    dispatcher.queue.cancel([first["jobs"][-1]["job"]])
    more = web.get(f"{URL}/list?state=PENDING&after={first['after']}")
    assert [job["job"] for job in more["jobs"]] == list(batch.names)[50:100]


def test_a_list_of_very_many_names_is_read_in_the_order_of_names(
    web: Browser, server: EmbeddedServer, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoolet.web.jobs.scanning.MOST_NAMES", 100)
    monkeypatch.setattr("zoolet.web.jobs.samples.MOST_NAMES", 100)
    requests = [JobRequest("m:f", f"d{n % 2}", str(n), priority=n % 3) for n in range(120)]
    batch = dispatcher.submit_batch(requests)
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        found = web.get(f"{URL}/list?dataset=d1&after={after}")
        names += [job["job"] for job in found["jobs"]]
        after = found["after"]
    assert names == sorted(list(batch.names)[1::2])
    numbers = web.get(URL)
    assert [row["priority"] for row in numbers["by_priority"]] == [None]
    assert numbers["oldest"] is None
    assert "It is not known: the queue has one shard" in web.html(URL)
    dispatcher.queue.cancel(names)
    dispatcher.queue.cancel([job.name for job in dispatcher.queue.waiting()])
    many = web.get(f"{URL}/list?state=FAILED")
    assert [job["job"] for job in many["jobs"]] == sorted(batch.names)[:50]
    assert web.get(f"{URL}/failures")["failed"] == 120
    with browsing(settings_of(server.hosts)) as new:
        assert new.get(URL)["read"] == {"owned": 0, "done": 0}
        assert "The newest failures are not known" in new.html(URL)


def test_a_search_reads_a_bounded_number_of_jobs(
    web: Browser, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher.submit_batch([JobRequest("m:f", "d", str(n)) for n in range(120)])
    monkeypatch.setattr("zoolet.web.jobs.scanning.MOST_S", 0.0)
    found = web.get(f"{URL}/list?task=m:none")
    assert (found["jobs"], found["read"]) == ([], 50)
    assert "There may be more." in web.html(f"{URL}/list?task=m:none")
    found = web.get(f"{URL}/list?task=m:none&after={found['after']}")
    assert found["read"] == 50


def test_hostile_values_are_only_text(web: Browser, dispatcher: Dispatcher) -> None:
    name = "\u05d0\u05d1\u05d2<b>&amp;"
    big = {"text": HOSTILE, "long": "\u202e<i>" * 50_000, HOSTILE: [[[[1]]]]}
    job = dispatcher.submit(f"m:{name}", name, name, big, tags=[name], limit_key="<u>").names[0]
    dispatcher.queue.cancel([job], reason=f"line\n<img src=x>{HOSTILE}")
    shown = web.get(f"{URL}/job/{quote(job, safe='')}")
    assert shown["parameters"] == big
    page = web.html(f"{URL}/job/{quote(job, safe='')}")
    assert len(page) < 1_000_000
    for text in (page, web.html(f"{URL}/list"), web.html(f"{URL}/failures"), web.html(URL)):
        for part in ("<img", "<b>", "<i>", "<u>", "\x1b", "\u202e"):
            assert part not in text, part
    assert "more characters are not shown" in page


def test_values_that_other_programs_wrote(web: Browser, dispatcher: Dispatcher, zk: Client) -> None:
    zk.create(f"{ROOT}/unowned/entry-001-d:g-0000000001", b"\xff not JSON")
    zk.create(f"{ROOT}/unowned/none", b"")
    zk.create(f"{ROOT}/done/entry-001-d:g-0000000003", b"<b>\x1b\xe2\x80\xae" * 125_000)
    zk.create(f"{ROOT}/done/entry-001-d:g-0000000002", json.dumps({"state": "FAILED"}).encode())
    zk.create(f"{ROOT}/workers/w", json.dumps({"executors": "x", "host": 1, "a": [1]}).encode())
    zk.set(f"{ROOT}/control", b"[")
    found = web.get(URL)
    assert found["jobs"]["unowned"] == 1
    listed = web.get(f"{URL}/list")["jobs"]
    assert {job["state"] for job in listed} == {"FAILED"}
    assert {job["task"] for job in listed} == {""}
    groups = web.get(f"{URL}/failures")["groups"]
    assert sum(group["jobs"] for group in groups) == 2
    page = web.html(url_of("entry-001-d:g-0000000001"))
    assert "is not a valid job" in page
    large = web.html(url_of("entry-001-d:g-0000000003"))
    assert len(large) < 20_000
    assert "<b>" not in large
    del dispatcher


def test_a_job_must_exist(web: Browser, dispatcher: Dispatcher) -> None:
    del dispatcher
    web.get(url_of("entry-001-d:g-0000000001"), 404)
    web.get(url_of("none"), 404)
    assert "no job" in web.html(url_of("entry-001-d:g-0000000001"), 404)


def test_a_queue_without_permission_says_so(
    web: Browser, server: EmbeddedServer, zk: Client
) -> None:
    del zk
    with Client(server.hosts) as owner:
        owner.add_auth("digest", "ann:secret")
        JobQueue(owner, "/jobs/own").ensure_layout(QueueSettings(acl="auth::cdrwa"))
        found = web.get("/c/local/jobs")
        assert "permission" in found["queues"][0]["error"]
        refused = web.get("/c/local/jobs/own", 403)
        assert refused["error"].endswith("On this page: Login at ZooKeeper")
        fields = {"scheme": "digest", "name": "ann", "password": "secret"}
        web.post("/c/local/credentials", fields)
        assert web.get("/c/local/jobs/own")["jobs"]["unowned"] == 0
        owner.delete_recursive("/jobs/own")


def test_the_session_of_the_page_expires(
    web: Browser, server: EmbeddedServer, dispatcher: Dispatcher, zk: Client
) -> None:
    job = dispatcher.submit("m:f").names[0]
    others = {dispatcher.queue.layout.znodes.session_id, zk.session_id.id}
    for page in (URL, f"{URL}/list", f"{URL}/failures", url_of(job)):
        web.get(page)
        found = {one.session_id for one in server.inside.sessions()} - others
        assert found  # that of the page, and perhaps one of an earlier test that still closes
        for session_id in found:
            server.expire(session_id)
        web.get(page)


def test_the_server_stops_and_returns(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server") as process:
        with Client(process.hosts) as zk:
            JobQueue(zk, ROOT).ensure_layout()
        with browsing(settings_of(process.hosts, connect_timeout_ms=2000)) as web:
            web.get(f"{URL}/list")
            process.stop()
            error = web.get(f"{URL}/list", 503)["error"]
            assert error.startswith(f"no session: no server of {process.hosts} answers")
            assert "no session: no server of" in web.html(f"{URL}/failures", 503)
            process.start()

            def answers() -> bool:
                return web.client.get(f"{URL}/list").status_code == 200

            wait_until(answers, "an answer")


def test_two_users_look_at_the_same_time(web: Browser, dispatcher: Dispatcher) -> None:
    names = dispatcher.submit_batch([JobRequest("m:f", "d", str(n)) for n in range(60)]).names
    pages = [URL, f"{URL}/list", f"{URL}/failures", url_of(names[0]), "/c/local/jobs"] * 6
    with ThreadPoolExecutor(10) as threads:
        found = list(threads.map(web.get, pages))
    assert all(len(one["jobs"]) == 50 for one in found if "after" in one and "jobs" in one)
    assert [one["job"] for one in found if "why" in one] == [names[0]] * 6


def test_links_have_the_base_path(server: EmbeddedServer, dispatcher: Dispatcher) -> None:
    job = dispatcher.submit("m:f").names[0]
    with browsing(settings_of(server.hosts, base_path="/tools/zk")) as web:
        base = f"/tools/zk{URL}"
        for page in (base, f"{base}/list", f"{base}/failures", f"{base}/job/{job}"):
            text = web.html(page)
            links = re.findall(r'(?:href|src|data-refresh)="(/[^"]*)"', text)
            assert f"{base}/failures" in links
            assert all(link.startswith("/tools/zk/") for link in links)


def test_halves_of_characters_in_the_record_of_a_job(
    web: Browser, dispatcher: Dispatcher, zk: Client
) -> None:
    """JSON may have them, and UTF-8 may not."""
    request = JobRequest("m:f", None, None, {"text": "before"})
    [job] = dispatcher.submit_batch([request]).names
    path = f"{ROOT}/unowned/{job}"
    data = zk.get(path).data or b""
    zk.set(path, data.replace(b'"before"', b'"\\ud800 after"'))
    assert "\ud800 after" in json.dumps(web.get(url_of(job)), ensure_ascii=False)
    assert "\\ud800 after" in web.html(url_of(job))
    assert web.get(f"{URL}/list")["jobs"]
