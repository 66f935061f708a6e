"""Changes of jobs in a real browser: a bar that advances, a retry by filter, small screens."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.browser.conftest import SMALL, log_in, on_both
from tests.support.jobs import WorkerProcess
from tests.support.waiting import wait_until
from tests.support.web_jobs import HOSTILE, ROOT, URL, ended, request, working
from zoolet.jobs import Dispatcher, JobRequest, JobState
from zoolet.testing.servers.base import ManagedServer

NAME = "\u05d0\u05d1\u05d2 <img src=x onerror=alert(1)> a?b=c#d&e%41"
TASKS = """
import time
from pathlib import Path
from zoolet.jobs import current_job

def held(group, parameters):
    current_job().progress(1, 2, "half")
    while not Path(parameters["file"]).exists():
        time.sleep(0.02)
"""


def open_page(tab: Any, url: str, user: str) -> None:
    """Open the page for a user."""
    tab.goto(f"{url}/login")
    log_in(tab, user)
    tab.get_by_text(f"User {user}").wait_for()


@on_both
def test_the_bar_of_a_batch_advances(
    tab: Any, editor_url: str, server: ManagedServer, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    (tmp_path / "held_tasks.py").write_text(TASKS)
    files = [tmp_path / f"file{number}" for number in range(4)]
    held = [JobRequest("held_tasks:held", None, None, {"file": str(file)}) for file in files]
    worker = WorkerProcess(server.hosts, tmp_path, "--executors", "2", root=ROOT, loader=None)
    try:
        dispatcher.submit_batch(held, name=NAME)
        open_page(tab, editor_url, "vi")
        tab.goto(f"{editor_url}{URL}/workers")
        runs = tab.get_by_label(f"Worker {worker.worker_id}").locator(".jobs li")
        wait_until(lambda: runs.filter(has_text="half").count() == 2, "two jobs with progress")
        runs.first.get_by_role("link").click()
        tab.get_by_label("Progress").wait_for()
        tab.goto(f"{editor_url}{URL}/batches")
        tab.get_by_role("link", name=NAME, exact=True).click()
        tab.get_by_text("2 RUNNING").wait_for()
        tab.locator("progress[value='25']").wait_for()  # two of four jobs have done a half
        for number, percent in ((0, 50), (1, 75), (2, 87), (3, 100)):
            files[number].touch()
            tab.get_by_text(f"{percent}%", exact=True).first.wait_for()
            tab.locator(f"progress[value='{percent}']").wait_for()
    finally:
        worker.close()


@on_both
def test_a_retry_by_filter_shows_the_number_and_is_made_once(
    tab: Any, editor_url: str, server: ManagedServer, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    with working(server.hosts, tmp_path):
        broken = [request("repaired", {"file": str(file), "n": number}) for number in range(3)]
        ended(dispatcher, *broken, request("wrong", {"text": HOSTILE}))
        open_page(tab, editor_url, "ed")
        tab.goto(f"{editor_url}{URL}/list?state=FAILED&error=FileNotFoundError")
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

        def have_ended() -> bool:
            states = dispatcher.queue.states()
            return (states[JobState.SUCCESSFUL], states[JobState.FAILED]) == (3, 1)

        wait_until(have_ended, "the end of the retried jobs")


def test_a_viewer_is_offered_nothing(tab: Any, editor_url: str, dispatcher: Dispatcher) -> None:
    [name] = dispatcher.submit("m:f").names
    open_page(tab, editor_url, "vi")
    for path in (f"/job/{name}", "/list", "/changes", "/schedules"):
        tab.goto(f"{editor_url}{URL}{path}")
        tab.get_by_role("heading", level=1).wait_for()
        assert tab.locator("main form[method=post]:not([action*='/count'])").count() == 0
    answer = tab.request.post(f"{editor_url}{URL}/job/{name}/cancel", form={"csrf": "x"})
    assert answer.status == 403
    assert dispatcher.queue.find(name).state is JobState.PENDING


@on_both
def test_one_job_with_a_hostile_name_is_cancelled_and_retried_by_keyboard(
    tab: Any, editor_url: str, dispatcher: Dispatcher
) -> None:
    [name] = dispatcher.submit("m:f", "a/b%2F?c=d#e", NAME[:40]).names
    open_page(tab, editor_url, "ed")
    tab.goto(f"{editor_url}{URL}/job/{quote(name, safe='')}")
    tab.get_by_role("button", name="Cancel the job in local").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Retry the job in local").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Cancel the job in local").wait_for()
    assert dispatcher.queue.find(name).state is JobState.PENDING
    tab.get_by_role("link", name="What it waits for").click()
    tab.get_by_role("heading", name="These wait for it").wait_for()


def test_small_screens_have_no_horizontal_scrolling(
    tab: Any, editor_url: str, server: ManagedServer, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    long = "x" * 190
    before = None
    for number in range(8):
        name = f"{number}{long}"
        dispatcher.submit_batch([JobRequest("m:" + "f" * 200)], name=name, after=before)
        before = name
    dispatcher.schedules.add(long, JobRequest("m:" + "f" * 200), cron="0 3 * * *")
    dispatcher.queue.pauses.add_task("m:" + "f" * 150)
    open_page(tab, editor_url, "ed")
    tab.set_viewport_size(SMALL)
    with working(server.hosts, tmp_path):
        pages = ("batches", f"batch/0{long}", "workers", "schedules", f"graph/7{long}", "history")
        for path in (*pages, f"graph/0{long}", "changes"):
            tab.goto(f"{editor_url}{URL}/{path}")
            tab.get_by_role("heading", level=1).wait_for()
            width = tab.evaluate("document.documentElement.scrollWidth")
            assert width <= SMALL["width"], path
