"""The quality of each page when it is not empty, for an editor."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.conftest import cookies_of_editor
from tests.browser.quality import check_layout_shift, check_looks
from tests.browser.stage import JOBS, Stage, stage
from tests.support.web import routes

NO_PAGES = {"/live", "/children", "/changes/live", "/export"}
OTHER_TESTS = {
    "/credentials",
    "/delete",
    "/import/{upload}",
    "/jobs",
    "/operations",
    "/operations/{operation}",
}
"""Pages that test_quality.py and the last tests of this module check."""

NUM_PAGES = len(Stage("", "", "", "", 0).pages())
OPEN = "document.querySelectorAll('details').forEach((found) => { found.open = true; })"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("stage")) as running:
        yield running


@pytest.fixture(scope="module")
def cookies(chromium: Any, filled: Stage) -> Any:
    return cookies_of_editor(chromium, filled.url)


@pytest.fixture
def show(tab: Any, filled: Stage, cookies: Any) -> Callable[[str], None]:
    """A function that shows a page to an editor."""
    tab.context.add_cookies(cookies)

    def show_page(page: str) -> None:
        tab.goto(filled.url + page)
        tab.get_by_role("button", name="Log out").wait_for()

    return show_page


def check(tab: Any) -> None:
    check_layout_shift(tab)
    tab.evaluate(OPEN)
    check_looks(tab)


@pytest.mark.parametrize("number", range(NUM_PAGES))
def test_a_page_with_data_has_the_quality(
    tab: Any, filled: Stage, show: Callable[[str], None], number: int
) -> None:
    show(filled.pages()[number])
    # The name and the colour of the cluster are on every page.
    name = tab.locator("header .cluster")
    assert name.inner_text() == "local"
    colour = name.evaluate("element => getComputedStyle(element).backgroundColor")
    assert colour == "rgb(179, 38, 30)"
    check(tab)


def test_the_pages_of_operations_have_the_quality(tab: Any, show: Callable[[str], None]) -> None:
    show("/c/local/search?path=/app")
    tab.get_by_label("Text").fill("1")
    tab.get_by_role("button", name="Search").click()
    tab.get_by_text("Done").wait_for()
    check(tab)
    show("/c/local/transfer?path=/app&target=/app-copy")
    tab.get_by_role("button", name="Copy 10 to local").click()
    tab.get_by_text("Done").wait_for()
    tab.get_by_role("link", name="Show the copy").wait_for()
    check(tab)
    show("/c/local/operations")
    tab.get_by_role("link", name="Copy /app to /app-copy in local").wait_for()
    check(tab)


def test_the_question_of_an_import_has_the_quality(
    tab: Any, filled: Stage, show: Callable[[str], None]
) -> None:
    show("/c/local/import?path=/imported")
    lines = tab.request.get(f"{filled.url}/c/local/export?path=/json").text()
    tab.get_by_label("Lines of an export").fill(lines)
    tab.get_by_role("button", name="Check the lines").click()
    tab.get_by_role("button", name="Import 1 to local").wait_for()
    check(tab)


def test_the_count_of_a_change_of_jobs_has_the_quality(
    tab: Any, show: Callable[[str], None]
) -> None:
    show(f"{JOBS}/changes?state=FAILED&change=retry")
    tab.get_by_role("button", name="Count the jobs").click()
    tab.get_by_role("button", name="Retry 2 jobs in local").wait_for()
    tab.get_by_role("link", name="Show the znode of the queue").wait_for()
    check(tab)


def test_no_page_is_forgotten(filled: Stage) -> None:
    checked = [page.partition("?")[0] for page in filled.pages()]
    missing = set()
    for route in routes("GET"):
        if route.path.startswith("/c/{cluster}/"):
            name = route.path.removeprefix("/c/{cluster}").replace("{queue}", "flights")
            first, parameter, _ = f"/c/local{name}".partition("{")
            if not any(page == first or (parameter and page.startswith(first)) for page in checked):
                missing.add(name)
    assert missing <= NO_PAGES | OTHER_TESTS
