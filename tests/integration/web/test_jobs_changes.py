"""Changes of jobs on the page: counted first, made once, continued, refused for a viewer."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from tests.support.waiting import wait_until
from tests.support.web import AUDIT, JSON, Browser, audit_of, browsing, settings_of, users_file
from tests.support.web_jobs import HOSTILE, ROOT, URL, ended, interrupt, request, working
from zoolet.client import Client
from zoolet.jobs import (
    Dispatcher,
    JobChange,
    JobFilter,
    JobRequest,
    JobState,
    Place,
)
from zoolet.jobs.records.batches import decode_entry
from zoolet.jobs.znodes.batch_log import entry_path, read_log
from zoolet.testing import EmbeddedServer
from zoolet.web.pages.jobs import changes, schedules

FORMS = [
    route.path.replace("{cluster}", "local").replace("{queue}", "flights").replace("{job}", "x")
    for module in (changes, schedules)
    for route in module.routes()
    if isinstance(route, Route) and "POST" in (route.methods or set())
]
CHANGES = [path for path in FORMS if not path.endswith("/count")]


@pytest.fixture
def web(server: EmbeddedServer, tmp_path: Path) -> Iterator[Browser]:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    with browsing(settings) as browser:
        yield browser


@pytest.fixture
def editor(web: Browser) -> Browser:
    return web.log_in("ed")


@pytest.fixture
def dispatcher(server: EmbeddedServer, zk: Client) -> Iterator[Dispatcher]:
    """A dispatcher on a new queue, which ends with the test."""
    assert zk.exists("/jobs") is None
    with Dispatcher(server.hosts, ROOT, create=True) as opened:
        yield opened


def result_of(web: Browser, started: Any, state: str = "done") -> Any:
    """Wait for the end of an operation; return its result."""
    found: Any = None

    def look() -> bool:
        nonlocal found
        found = web.get(started["page"])
        return bool(found["state"] != "running")

    wait_until(look, "the end of the operation")
    assert found["state"] == state, found
    return found["result"]


def count(web: Browser, change: str, **selected: str) -> Any:
    return result_of(web, web.post(f"{URL}/count", {"change": change, **selected}))


def make(web: Browser, counted: Any, state: str = "done") -> Any:
    fields = {"change": counted["change"], "at_ms": counted["at_ms"], "jobs": counted["jobs"]}
    return result_of(web, web.post(counted["url"], fields | counted["filter"]), state)


def names_in(dispatcher: Dispatcher, place: Place) -> set[str]:
    return {name.name for name in dispatcher.queue.layout.names(place)}


def test_a_retry_by_filter_shows_the_number_and_is_made_once(
    editor: Browser,
    server: EmbeddedServer,
    dispatcher: Dispatcher,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    file = tmp_path / "file"
    with working(server.hosts, tmp_path):
        broken = [request("repaired", {"file": str(file), "n": n}) for n in range(60)]
        ended(dispatcher, *broken, request("wrong"))
        counted = count(editor, "retry", task="web_tasks:repaired", error="FileNotFoundError")
        assert counted["jobs"] == 60
        file.touch()
        made = make(editor, counted)
        assert (made["jobs"], made["left_out"], made["is_continued"]) == (60, 0, False)
        wait_until(lambda: dispatcher.queue.states()[JobState.SUCCESSFUL] == 60, "the retried jobs")
        # The same form again changes nothing: the jobs have ended, or came after the count.
        assert make(editor, counted)["jobs"] == 0
    records = audit_of(caplog.records)
    assert [(one["operation"], one["counted"], one["jobs"]) for one in records] == [
        ("jobs.retry", 60, 60),
        ("jobs.retry", 60, 0),
    ]
    assert records[0]["filter"] == {"task": "web_tasks:repaired", "error": "FileNotFoundError"}
    assert {one["user"] for one in records} == {"ed"}


def test_a_cancellation_leaves_out_jobs_that_came_after_the_count(
    editor: Browser, dispatcher: Dispatcher
) -> None:
    old = dispatcher.submit_batch([JobRequest("m:f", "d", "1")] * 3, reuse=False).names
    other = dispatcher.submit("m:f", "e", "1").names
    counted = count(editor, "cancel", dataset="d")
    assert counted["jobs"] == 3
    at_ms = counted["at_ms"]
    dispatcher.queue.clock_ms = lambda: at_ms + 1
    new = dispatcher.queue.submit([JobRequest("m:f", "d", "2")])[0].name
    assert make(editor, counted)["jobs"] == 3
    assert names_in(dispatcher, Place.DONE) == set(old)
    assert names_in(dispatcher, Place.UNOWNED) == {*other, new}


def test_jobs_are_paused_and_resumed(editor: Browser, dispatcher: Dispatcher) -> None:
    names = dispatcher.submit_batch([JobRequest("m:f"), JobRequest("m:f"), JobRequest("m:g")]).names
    assert make(editor, count(editor, "pause", task="m:f"))["jobs"] == 2
    for kind, name in (("queue", ""), ("dataset", "d"), ("task", "m:g")):
        editor.post(f"{URL}/pause", {"kind": kind, "name": name})
    found = editor.get(f"{URL}/changes")["pauses"]
    assert [one["kind"] for one in found] == ["queue", "dataset", "jobs", "task"]
    assert [one["waiting"] for one in found] == [0, 0, 2, 0]
    why = editor.get(f"{URL}/job/{names[0]}")["why"]
    assert "paused" in why
    for one in found:
        editor.post(f"{URL}/resume", {"kind": one["kind"], "name": one["name"]})
    assert editor.get(f"{URL}/changes")["pauses"] == []
    assert dispatcher.queue.pauses.all() == []
    editor.post(f"{URL}/pause", {"kind": "task"}, 400)
    editor.post(f"{URL}/pause", {"kind": "jobs", "name": "x"}, 400)
    editor.post(f"{URL}/pause", {"kind": "x"}, 400)
    editor.post(f"{URL}/resume", {"kind": "task", "name": "none"}, 404)


def test_a_change_of_a_process_that_died_is_continued(
    editor: Browser, dispatcher: Dispatcher
) -> None:
    dispatcher.submit_batch([JobRequest("m:f")] * 120, reuse=False)
    interrupt(dispatcher, JobChange.CANCEL, JobFilter(task="m:f"))
    first = names_in(dispatcher, Place.DONE)
    assert len(first) == 50
    again = dispatcher.queue.retry(next(iter(first)))
    [left] = editor.get(f"{URL}/changes")["unfinished"]
    assert (left["change"], left["filter"]) == ("cancel", {"task": "m:f"})
    found = result_of(editor, editor.post(f"{URL}/continue", {"id": left["id"]}))
    assert (found["jobs"], found["is_continued"]) == (70, True)
    # The job that somebody has retried meanwhile is not cancelled a second time.
    assert names_in(dispatcher, Place.UNOWNED) == {again.name}
    assert editor.get(f"{URL}/changes")["unfinished"] == []
    editor.post(f"{URL}/continue", {"id": left["id"]}, 404)


def logged_once(dispatcher: Dispatcher, batch: str, names: list[str]) -> bool:
    """Return whether the batch's log names each job one time: each was cancelled once."""
    layout = dispatcher.queue.layout
    ended, entries = read_log(layout, batch, 0)
    paths = [entry_path(layout, batch, number) for number in range(entries)]
    logged = [
        name for znode in layout.znodes.get_all(paths) if znode for name in decode_entry(znode.data)
    ]
    return sorted(logged) == sorted(names) == sorted(ended)


def test_a_change_continues_on_the_page_that_is_started_next(
    server: EmbeddedServer, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    names = dispatcher.submit_batch([JobRequest("m:f")] * 6000, reuse=False, name="big").names
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    with browsing(settings) as web:
        web.log_in("ed")
        counted = count(web, "cancel", task="m:f")
        fields = {"change": "cancel", "at_ms": counted["at_ms"], "jobs": counted["jobs"]}
        started = web.post(counted["url"], fields | counted["filter"])
        wait_until(lambda: web.get(started["page"])["done"] > 0, "the first cancelled jobs")
    assert 0 < len(names_in(dispatcher, Place.DONE)) < len(names)
    with browsing(settings) as web:
        web.log_in("ed")
        [left] = web.get(f"{URL}/changes")["unfinished"]
        # Two users continue it at the same time.
        both = [web.post(f"{URL}/continue", {"id": left["id"]}) for _ in range(2)]
        found = [result_of(web, one) for one in both]
        assert all(one["is_continued"] for one in found)
        assert names_in(dispatcher, Place.DONE) == set(names)
        assert web.get(f"{URL}/changes")["unfinished"] == []
    assert logged_once(dispatcher, "big", names)


def test_a_change_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer())
        dispatcher = stack.enter_context(Dispatcher(server.hosts, ROOT, create=True))
        requests = [JobRequest("m:f")] * 3000
        names = dispatcher.submit_batch(requests, reuse=False, name="big").names
        settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
        web = stack.enter_context(browsing(settings)).log_in("ed")
        counted = count(web, "cancel")
        fields = {"change": "cancel", "at_ms": counted["at_ms"], "jobs": counted["jobs"]}
        started = web.post(counted["url"], fields)
        wait_until(lambda: web.get(started["page"])["done"] > 0, "the first cancelled jobs")
        server.kill()
        server.start()
        wait_until(lambda: web.get(started["page"])["state"] != "running", "the end")
        for left in web.get(f"{URL}/changes")["unfinished"]:
            result_of(web, web.post(f"{URL}/continue", {"id": left["id"]}))
        assert names_in(dispatcher, Place.DONE) == set(names)
        assert logged_once(dispatcher, "big", names)


def test_a_change_is_given_up(editor: Browser, dispatcher: Dispatcher, zk: Client) -> None:
    dispatcher.submit_batch([JobRequest("m:f")] * 120, reuse=False)
    interrupt(dispatcher, JobChange.CANCEL, JobFilter())
    [left] = editor.get(f"{URL}/changes")["unfinished"]
    editor.post(f"{URL}/give-up", {"id": left["id"]})
    assert editor.get(f"{URL}/changes")["unfinished"] == []
    zk.create(f"{ROOT}/changes/pause-x", b'{"began_ms": 1, "change": "pause", "filter": 3}')
    [left] = editor.get(f"{URL}/changes")["unfinished"]
    assert left["filter"] is None
    editor.post(f"{URL}/continue", {"id": left["id"]}, 409)
    assert "/changes/pause-x" in editor.post(f"{URL}/give-up", {"id": left["id"]}, 409)["error"]


def test_one_job_is_retried_and_cancelled(
    editor: Browser, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    [name] = dispatcher.submit("m:f", "a b", "c").names
    url = f"{URL}/job/{name}"
    assert "Cancel the job in local" in editor.html(url)
    editor.post(f"{url}/retry", {}, 409)
    assert editor.post(f"{url}/cancel", {}) == {"job": name}
    editor.post(f"{url}/cancel", {}, 409)
    assert "Retry the job in local" in editor.html(url)
    editor.post(f"{url}/retry", {})
    assert dispatcher.queue.find(name).state is JobState.PENDING
    editor.post(f"{URL}/job/entry-000-d:g-0000000099/retry", {}, 404)
    records = audit_of(caplog.records)
    assert [(one["operation"], one["result"]) for one in records] == [
        ("jobs.retry", "conflict"),
        ("jobs.cancel", "done"),
        ("jobs.cancel", "conflict"),
        ("jobs.retry", "done"),
        ("jobs.retry", "JobNotFoundError"),
    ]
    assert {one["job"] for one in records[:4]} == {name}


def test_schedules_are_shown_paused_and_resumed(editor: Browser, dispatcher: Dispatcher) -> None:
    name = f"nightly {HOSTILE}".replace("/", "_").replace("\x1b", "")
    dispatcher.schedules.add(name, JobRequest("m:f"), cron="0 3 * * *", timezone="Europe/Berlin")
    job = dispatcher.schedules.run_now(name)
    [found] = editor.get(f"{URL}/schedules")["schedules"]
    assert (found["schedule"], found["last_job"], found["paused"]) == (name, job, False)
    assert found["next_ms"] > dispatcher.queue.clock_ms()
    page = editor.html(f"{URL}/schedules")
    assert "<img" not in page
    assert "Pause the schedule in local" in page
    for action, paused in (("pause", True), ("pause", True), ("resume", False)):
        assert editor.post(f"{URL}/schedules/{action}", {"schedule": name})["paused"] is paused
        assert dispatcher.schedules.get(name).paused is paused
    editor.post(f"{URL}/schedules/pause", {"schedule": "none"}, 404)
    editor.post(f"{URL}/schedules/pause", {"schedule": "a/b"}, 404)


def test_wrong_forms_are_refused(editor: Browser, dispatcher: Dispatcher) -> None:
    dispatcher.submit("m:f")
    editor.post(f"{URL}/count", {"change": "x"}, 400)
    editor.post(f"{URL}/count", {"change": "retry", "state": "x"}, 400)
    editor.post(f"{URL}/change", {"change": "cancel"}, 400)
    editor.post(f"{URL}/change", {"change": "cancel", "jobs": "1", "at_ms": "9" * 18}, 400)
    editor.get(f"{URL}/changes?change=x", 400)
    started = editor.post(f"{URL}/count", {"change": "cancel", "batch": "none"})
    result_of(editor, started, "failed")
    started = editor.post("/c/local/jobs/none/count", {"change": "cancel"})
    result_of(editor, started, "failed")
    assert names_in(dispatcher, Place.DONE) == set()


@pytest.mark.parametrize("path", CHANGES)
def test_a_viewer_is_refused(web: Browser, path: str) -> None:
    assert "editor" in web.log_in("vi").post(path, {}, 403)["error"]


@pytest.mark.parametrize("path", FORMS)
def test_each_form_needs_its_token(editor: Browser, path: str) -> None:
    assert editor.client.post(path, data={}, headers=JSON).status_code == 403


def test_a_viewer_counts_but_is_offered_no_change(web: Browser, dispatcher: Dispatcher) -> None:
    dispatcher.submit("m:f")
    web.log_in("vi")
    started = web.post(f"{URL}/count", {"change": "cancel"})
    assert result_of(web, started)["jobs"] == 1
    page = web.html(started["page"])
    assert "Only an editor" in page
    assert "Cancel 1 job" not in page
    assert "Retry these" not in web.html(f"{URL}/list")
    assert 'action="/c/local/jobs/flights/pause"' not in web.html(f"{URL}/changes")
