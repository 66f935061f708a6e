"""Queues in a real browser: a failing task, live numbers, hostile names, small screens, keys."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.conftest import LARGE, SMALL, Serve, on_both, wait_for_page
from tests.support.waiting import wait_until
from tests.support.web import settings_of
from tests.support.web_jobs import HOSTILE, URL, ended, request, working
from zoolet.client import Client
from zoolet.jobs import Dispatcher, JobQueue, JobRequest, JobState
from zoolet.testing.servers.base import ManagedServer

RIGHT_TO_LEFT = "\u05d0\u05d1\u05d2 \u0645\u0647\u0645\u0629"
NAMES = ["<img src=x onerror=alert(1)>", RIGHT_TO_LEFT, "a/b%2F?c=d#e&f", "x" * 250]


@on_both
def test_a_failing_task(
    tab: Any, serve: Serve, server: ManagedServer, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    with working(server.hosts, tmp_path):
        [bad, *_] = ended(
            dispatcher,
            request("repaired", {"file": str(file)}),
            request("repaired", {"file": str(file), "n": 2}),
            request("wrong"),
        )
        tab.goto(f"{serve(settings_of(server.hosts))}/c/local/tree")
        tab.get_by_role("link", name="Jobs", exact=True).click()
        tab.get_by_role("link", name="flights", exact=True).click()
        tab.get_by_role("heading", name="Queue /jobs/flights").wait_for()
        tab.get_by_text("FAILED of the newest 3 ended").wait_for()
        tab.get_by_role("link", name="Failures", exact=True).click()
        tab.get_by_role("link", name="FileNotFoundError", exact=True).click()
        tab.get_by_text("2 jobs found").wait_for()
        tab.get_by_role("link", name=bad.name, exact=True).click()
        wait_for_page(tab, f"Job {bad.name}")
        error = tab.get_by_label("Error of attempt 1").inner_text()
        assert error.startswith("Traceback")
        assert "FileNotFoundError: <img src=x onerror=alert(1)>\\x1b[31m\\u202e{{7*7}}" in error
        assert "looks for the file" in tab.get_by_label("Output of attempt 1").inner_text()
        assert tab.locator("img").count() == 0
        file.touch()
        dispatcher.queue.retry(bad.name)
        tab.locator(".state").get_by_text("SUCCESSFUL").wait_for()  # the page follows the job
        assert "found" in tab.get_by_label("Result").inner_text()


SHIFTS = """() => { window.shift = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true }); }"""


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_the_numbers_of_a_queue_follow_it(
    tab: Any,
    serve: Serve,
    server: ManagedServer,
    dispatcher: Dispatcher,
    size: dict[str, int],
    place: float,
) -> None:
    """The page does not move while jobs come, run and fail, wherever the user has scrolled to."""
    tab.set_viewport_size(size)
    tab.goto(serve(settings_of(server.hosts)) + URL)
    tab.get_by_text("No job waits.").wait_for()
    tab.evaluate("part => window.scrollTo(0, part * document.documentElement.scrollHeight)", place)
    tab.evaluate(SHIFTS)
    names = dispatcher.submit_batch(
        [JobRequest("module:function", "dataset", str(number)) for number in range(30)]
    ).names
    queue = dispatcher.queue
    queue.cancel(names[:12], "ValueError: no")
    assert queue.register("w", b'{"executors": 12}')
    for job in queue.own_jobs(names[12:24], "w").owned:
        queue.update_state(job, JobState.RUNNING)
    tab.locator("#numbers").get_by_role("link", name=names[12], exact=True).wait_for()
    tab.locator("#numbers").get_by_role("link", name=names[11], exact=True).wait_for()
    charts, oldest = tab.locator(".chart svg[role=img]"), tab.locator(".oldest")
    wait_until(lambda: charts.count() == 2, "both charts")
    wait_until(lambda: oldest.inner_text().startswith(names[24]), "the job that waits longest")
    assert tab.evaluate("window.shift") < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_only_text(
    tab: Any, serve: Serve, server: ManagedServer, dispatcher: Dispatcher, name: str
) -> None:
    url = serve(settings_of(server.hosts))
    text = {name: HOSTILE, "long": "<i>" * 100_000}
    job = dispatcher.submit(f"m:{name}", name, name, text).names[0]
    dispatcher.queue.cancel([job], reason=HOSTILE)
    for page in (URL, f"{URL}/list?{'dataset=' + quote(name)}"):
        tab.goto(url + page)
        tab.get_by_role("link", name=job, exact=True).click()
        wait_for_page(tab, f"Job {job}")
        assert f"m:{name}" in tab.locator("main").inner_text()
        assert tab.locator("img, main i").count() == 0
    tab.get_by_role("link", name="Jobs of this task").click()
    tab.get_by_role("link", name=job, exact=True).wait_for()


def test_a_queue_has_any_name(tab: Any, serve: Serve, server: ManagedServer, zk: Client) -> None:
    url = serve(settings_of(server.hosts))
    for number, name in enumerate(["a%2Fb", "q?#&", RIGHT_TO_LEFT, "<b>x"]):
        path = f"/apps {number}/{name}"
        JobQueue(zk, path).ensure_layout()
        tab.goto(f"{url}/c/local/jobs")
        tab.get_by_label("Below the znode").fill(f"/apps {number}")
        tab.get_by_role("button", name="Look").press("Enter")
        tab.get_by_role("link", name=name, exact=True).click()
        tab.get_by_role("heading", name=f"Queue {path}", exact=True).wait_for()
        tab.get_by_role("link", name="Failures", exact=True).click()
        tab.get_by_role("heading", name=f"Failures in {path}", exact=True).wait_for()
        tab.get_by_role("button", name="Show").click()
        tab.get_by_role("heading", name=f"Failures in {path}", exact=True).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_small_screen(
    tab: Any, serve: Serve, server: ManagedServer, dispatcher: Dispatcher, scheme: str
) -> None:
    url = serve(settings_of(server.hosts))
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size(SMALL)
    long = "x" * 250
    job = dispatcher.submit(f"m:{long}", long, long, {"text": "y" * 9000}).names[0]
    dispatcher.queue.cancel([job], reason="z" * 900)
    dispatcher.submit_batch([JobRequest(f"m:{long}", long, str(number)) for number in range(60)])
    for page in ("", "/list", "/failures", f"/job/{quote(job, safe='')}"):
        tab.goto(url + URL + page)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, page
    tab.goto(f"{url}/c/local/jobs")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_pages_work_by_keyboard(
    tab: Any, serve: Serve, server: ManagedServer, dispatcher: Dispatcher
) -> None:
    dispatcher.submit_batch([JobRequest("m:f", "d", str(number)) for number in range(60)])
    tab.goto(serve(settings_of(server.hosts)) + URL + "/list")
    tab.get_by_label("Dataset").focus()
    tab.keyboard.type("d")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**dataset=d*")
    tab.get_by_text("50 jobs found").wait_for()
    tab.get_by_role("link", name="Next jobs").press("Enter")
    tab.get_by_text("10 jobs found").wait_for()
    assert tab.get_by_label("Dataset").input_value() == "d"
