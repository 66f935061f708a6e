"""Queues in a real browser: changes by filter, schedules, graphs, the history."""

from pathlib import Path
from typing import Any

from tests.browser.conftest import Serve, log_in, on_both, wait_for_page
from tests.support.web import settings_of
from tests.support.web_jobs import ROOT, URL, ended, interrupt, remove_all, request, working
from zoolet.jobs import Dispatcher, JobChange, JobFilter, JobRequest, JobState
from zoolet.testing.servers.base import ManagedServer


def press(tab: Any, button: str) -> None:
    tab.get_by_role("button", name=button, exact=True).click()


@on_both
def test_jobs_are_cancelled_and_paused_by_filter(
    tab: Any, editor_url: str, dispatcher: Dispatcher
) -> None:
    dispatcher.submit_batch([JobRequest(f"m:{task}") for task in "aaabb"], reuse=False)
    tab.goto(f"{editor_url}{URL}/list?task=m:b")
    log_in(tab)
    tab.get_by_role("link", name="Cancel these…").click()
    press(tab, "Count the jobs")
    press(tab, "Cancel 2 jobs in local")
    tab.get_by_text("2 jobs were changed").wait_for()
    tab.goto(f"{editor_url}{URL}/list?task=m:a")
    tab.get_by_role("link", name="Pause these…").click()
    press(tab, "Count the jobs")
    press(tab, "Pause 3 jobs in local")
    tab.get_by_text("3 jobs were changed").wait_for()
    states = dispatcher.queue.states()
    assert (states[JobState.FAILED], states[JobState.PENDING]) == (2, 3)
    tab.goto(f"{editor_url}{URL}/list?task=m:a")
    tab.locator("tbody a").first.click()
    tab.locator(".why").get_by_text("paused").wait_for()
    tab.get_by_role("link", name="Changes", exact=True).last.click()
    tab.get_by_text("3 jobs wait").wait_for()
    press(tab, "End the pause in local")
    tab.get_by_text("Nothing is paused.").wait_for()
    assert dispatcher.queue.pauses.all() == []


@on_both
def test_an_interrupted_change_continues_and_changes_each_job_once(
    tab: Any, editor_url: str, dispatcher: Dispatcher
) -> None:
    dispatcher.submit_batch([JobRequest("m:f")] * 120, reuse=False)
    interrupt(dispatcher, JobChange.CANCEL, JobFilter(task="m:f"))
    assert dispatcher.queue.states()[JobState.FAILED] == 50
    tab.goto(f"{editor_url}{URL}/changes")
    log_in(tab)
    press(tab, "Continue in local")
    tab.get_by_text("70 jobs were changed").wait_for()
    assert dispatcher.queue.states()[JobState.FAILED] == 120
    tab.get_by_role("link", name="Changes of the queue").click()
    tab.get_by_text("There are none.").wait_for()


@on_both
def test_a_schedule_is_paused_and_a_graph_shows_what_waits(
    tab: Any, editor_url: str, dispatcher: Dispatcher
) -> None:
    dispatcher.schedules.add("nightly", JobRequest("m:f"), cron="0 3 * * *")
    dispatcher.submit_batch([JobRequest("m:f")], name="first")
    [name] = dispatcher.submit_batch([JobRequest("m:g")], name="second", after="first").names
    tab.goto(f"{editor_url}{URL}/schedules")
    log_in(tab)
    press(tab, "Pause the schedule in local")
    tab.get_by_role("heading", name="nightly (paused)").wait_for()
    press(tab, "Resume the schedule in local")
    tab.get_by_role("heading", name="nightly", exact=True).wait_for()
    tab.goto(f"{editor_url}{URL}/list?task=m:g")
    tab.get_by_role("link", name=name, exact=True).click()
    tab.locator(".why").get_by_text("first").wait_for()
    tab.get_by_role("link", name="What it waits for").click()
    wait_for_page(tab, f"Graph of {name}")
    assert tab.locator(".graph").get_by_role("link", name="first", exact=True).count() == 1


@on_both
def test_the_history_comes_from_sql(
    tab: Any, serve: Serve, server: ManagedServer, tmp_path: Path
) -> None:
    stores = {"results": f"sqlite:///{tmp_path}/results.db"}
    with Dispatcher(server.hosts, ROOT, create=True, result_stores=stores) as dispatcher:
        with working(server.hosts, tmp_path):
            bad, good = ended(
                dispatcher, request("wrong", {"text": "no address"}), request("echo", {"n": 1})
            )
        remove_all(dispatcher, "results")
        assert dispatcher.queue.states()[JobState.FAILED] == 0
    tab.goto(f"{serve(settings_of(server.hosts, result_stores=stores))}{URL}/history")
    tab.get_by_text("2 jobs, those that ended last first").wait_for()
    tab.get_by_role("row", name=good.name).get_by_text("SUCCESSFUL").wait_for()
    tab.get_by_label("Error contains").fill("ValueError")
    press(tab, "Show")
    tab.get_by_text("1 job, those that ended last first").wait_for()
    row = tab.get_by_role("row", name=bad.name)
    row.locator("summary").click()
    row.get_by_label("Error").get_by_text("no address").wait_for()
