"""The quality of each page when it is not empty, for an editor."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.quality import check_layout_shift, check_looks
from tests.browser.stage import Stage, stage
from tests.support.web import PASSWORDS, routes

NOT_PAGES = {"live", "children", "changes-live", "export"}
OPERATIONS = {"operation", "operations"}
OPEN = "document.querySelectorAll('details').forEach((found) => { found.open = true; })"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("stage")) as running:
        yield running


@pytest.fixture
def editor(tab: Any, filled: Stage) -> Callable[[str], None]:
    """A function that shows a page to an editor."""
    tab.goto(f"{filled.url}/login")
    tab.get_by_label("Name").fill("ed")
    tab.get_by_label("Password").fill(PASSWORDS["ed"])
    tab.get_by_role("button", name="Log in").click()
    tab.get_by_role("button", name="Log out").wait_for()
    return lambda page: tab.goto(filled.url + page)


def check(tab: Any) -> None:
    tab.get_by_role("heading", level=1).wait_for()
    check_layout_shift(tab)
    tab.evaluate(OPEN)
    check_looks(tab)


@pytest.mark.parametrize("number", range(len(Stage("", "", "", "", 0).pages())))
def test_a_page_with_data_has_the_quality(
    tab: Any, filled: Stage, editor: Callable[[str], None], number: int
) -> None:
    editor(filled.pages()[number])
    check(tab)


@pytest.mark.parametrize("page", ["search?path=/app", "transfer?path=/app&to=/app-copy"])
def test_the_page_of_an_operation_has_the_quality(
    tab: Any, editor: Callable[[str], None], page: str
) -> None:
    editor(f"/c/local/{page}")
    tab.locator("main form[method=post] button").first.click()
    tab.get_by_text("Done").first.wait_for()
    check(tab)
    editor("/c/local/operations")
    check(tab)


def test_the_count_of_a_change_of_jobs_has_the_quality(
    tab: Any, editor: Callable[[str], None]
) -> None:
    editor("/c/local/jobs/flights/changes?state=FAILED&change=retry")
    tab.get_by_role("button", name="Count").click()
    tab.get_by_role("button", name="Retry 2 jobs in local").wait_for()
    check(tab)


def test_no_page_is_forgotten(filled: Stage) -> None:
    checked = {page.partition("?")[0] for page in filled.pages()}
    names = set()
    for route in routes("GET"):
        if route.name not in NOT_PAGES | OPERATIONS and "{cluster}/" in route.path:
            url = route.path.replace("{cluster}", "local").replace("{queue}", "flights")
            start = url.partition("{")[0]
            if not any(page.startswith(start) for page in checked):
                names.add(route.path)
    assert names <= {"/c/{cluster}/credentials", "/c/{cluster}/delete"}
