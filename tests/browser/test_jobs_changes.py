"""Changes of jobs in a real browser: a bar that advances, a retry by filter, small screens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.conftest import SMALL, Serve
from tests.support.jobs import WorkerProcess
from tests.support.web import PASSWORDS, settings_of, users_file
from tests.support.web_jobs import HOSTILE, ROOT, URL, ended, request, working
from zoolet.client import Client
from zoolet.jobs import Dispatcher, JobRequest, JobState
from zoolet.testing import EmbeddedServer

NAME = "\u05d0\u05d1\u05d2 <img src=x onerror=alert(1)> a?b=c#d&e%41"
TASKS = """
import time
from pathlib import Path

def held(group, parameters):
    while not Path(parameters["file"]).exists():
        time.sleep(0.02)
"""


@pytest.fixture
def dispatcher(server: EmbeddedServer) -> Iterator[Dispatcher]:
    with Dispatcher(server.hosts, ROOT, create=True) as opened:
        yield opened
    with Client(server.hosts) as zk:
        zk.delete_recursive("/jobs")


@pytest.fixture
def url(serve: Serve, server: EmbeddedServer, tmp_path: Path) -> str:
    """The URL of a page on which editors may change something."""
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    return serve(settings)


def log_in(tab: Any, url: str, user: str) -> None:
    tab.goto(f"{url}/login")
    tab.get_by_label("Name").fill(user)
    tab.get_by_label("Password").fill(PASSWORDS[user])
    tab.get_by_role("button", name="Log in").click()
    tab.get_by_text(f"User {user}").wait_for()


def test_the_bar_of_a_batch_advances(
    tab: Any, url: str, server: EmbeddedServer, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    (tmp_path / "held_tasks.py").write_text(TASKS)
    files = [tmp_path / f"file{number}" for number in range(4)]
    held = [JobRequest("held_tasks:held", None, None, {"file": str(file)}) for file in files]
    worker = WorkerProcess(server.hosts, tmp_path, "--executors", "2", root=ROOT, loader=None)
    try:
        dispatcher.submit_batch(held, name=NAME)
        log_in(tab, url, "vi")
        tab.goto(f"{url}{URL}/batches")
        tab.get_by_role("link", name=NAME, exact=True).click()
        bar = tab.get_by_role("progressbar")
        tab.get_by_text("2 RUNNING").wait_for()
        assert bar.get_attribute("value") == "0"
        for number, percent in ((0, 25), (1, 50), (2, 75), (3, 100)):
            files[number].touch()
            tab.get_by_text(f"{percent}%", exact=True).first.wait_for()
            assert bar.get_attribute("value") == str(percent)
        tab.get_by_role("link", name="Workers", exact=True).click()
        tab.get_by_role("heading", name=worker.worker_id).wait_for()
    finally:
        worker.close()


def test_a_retry_by_filter_shows_the_number_and_is_made_once(
    tab: Any, url: str, server: EmbeddedServer, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    with working(server.hosts, tmp_path):
        broken = [request("repaired", {"file": str(file), "n": number}) for number in range(3)]
        ended(dispatcher, *broken, request("wrong", {"text": HOSTILE}))
        log_in(tab, url, "ed")
        tab.goto(f"{url}{URL}/list?state=FAILED&error=FileNotFoundError")
        tab.get_by_role("link", name="Retry these…").click()
        tab.get_by_role("button", name="Count the jobs").click()
        button = tab.get_by_role("button", name="Retry 3 jobs in local")
        button.wait_for()
        file.touch()
        button.click()
        tab.get_by_text("3 jobs were changed").wait_for()
        tab.get_by_role("link", name="Changes of the queue").click()
        tab.get_by_role("heading", name="Changes of /jobs/flights").wait_for()
        tab.go_back()
        tab.go_back()
        # The form of the count is there again, but each job is changed once.
        tab.get_by_role("button", name="Retry 3 jobs in local").click()
        tab.get_by_text("0 jobs were changed").wait_for()
    states = dispatcher.queue.states()
    assert (states[JobState.SUCCESSFUL], states[JobState.FAILED]) == (3, 1)


def test_a_viewer_is_offered_nothing(tab: Any, url: str, dispatcher: Dispatcher) -> None:
    [name] = dispatcher.submit("m:f").names
    log_in(tab, url, "vi")
    for path in (f"/job/{name}", "/list", "/changes", "/schedules"):
        tab.goto(f"{url}{URL}{path}")
        tab.get_by_role("heading", level=1).wait_for()
        assert tab.locator("main form[method=post]:not([action*='/count'])").count() == 0
    answer = tab.request.post(f"{url}{URL}/job/{name}/cancel", form={"csrf": "x"})
    assert answer.status == 403
    assert dispatcher.queue.find(name).state is JobState.PENDING


def test_one_job_with_a_hostile_name_is_cancelled_and_retried_by_keyboard(
    tab: Any, url: str, dispatcher: Dispatcher
) -> None:
    [name] = dispatcher.submit("m:f", "a/b%2F?c=d#e", NAME[:40]).names
    log_in(tab, url, "ed")
    tab.goto(f"{url}{URL}/job/{quote(name, safe='')}")
    tab.get_by_role("button", name="Cancel the job in local").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Retry the job in local").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Cancel the job in local").wait_for()
    assert dispatcher.queue.find(name).state is JobState.PENDING
    tab.get_by_role("link", name="What it waits for").click()
    tab.get_by_role("heading", name="These wait for it").wait_for()


def test_small_screens_have_no_horizontal_scrolling(
    tab: Any, url: str, server: EmbeddedServer, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    long = "x" * 190
    before = None
    for number in range(8):
        name = f"{number}{long}"
        dispatcher.submit_batch([JobRequest("m:" + "f" * 200)], name=name, after=before)
        before = name
    dispatcher.schedules.add(long, JobRequest("m:" + "f" * 200), cron="0 3 * * *")
    dispatcher.queue.pauses.add_task("m:" + "f" * 150)
    log_in(tab, url, "ed")
    tab.set_viewport_size(SMALL)
    with working(server.hosts, tmp_path):
        pages = ("batches", f"batch/0{long}", "workers", "schedules", f"graph/7{long}", "history")
        for path in (*pages, f"graph/0{long}", "changes"):
            tab.goto(f"{url}{URL}/{path}")
            tab.get_by_role("heading", level=1).wait_for()
            width = tab.evaluate("document.documentElement.scrollWidth")
            assert width <= SMALL["width"], path
