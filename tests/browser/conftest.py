"""A real browser on a real page: Debian's Chromium, driven by Playwright."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.skips import needs
from tests.support.web import clearing
from tests.support.web_streams import serving
from zoolet.client import Client
from zoolet.testing import EmbeddedServer
from zoolet.web.settings import WebSettings

Serve = Callable[[WebSettings], str]
"""The type of the fixture ``serve``."""

CHROMIUM = Path("/usr/bin/chromium")
SMALL = {"width": 360, "height": 640}
LARGE = {"width": 1200, "height": 800}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def zk(server: EmbeddedServer) -> Iterator[Client]:
    with clearing(server) as client:
        yield client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser. It ends with its module: its event loop runs on the thread of the tests."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if not CHROMIUM.exists():
        pytest.skip(needs("a browser", "chromium"))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A tab of a new browser profile; the test fails if the page reports an error."""
    context = chromium.new_context(viewport=LARGE)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))

    def dismiss(dialog: Any) -> None:
        problems.append(dialog.message)
        dialog.dismiss()

    page.on("console", lambda said: problems.extend(_refused(said.text)))
    page.on("dialog", dismiss)
    yield page
    context.close()
    assert problems == []


def _refused(text: str) -> list[str]:
    """Return a message of the console if it is about the content security policy."""
    return [text] if "Content Security" in text else []


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that serves the page on a thread, and returns its URL without the last slash."""
    with ExitStack() as stack:

        def start(settings: WebSettings) -> str:
            return stack.enter_context(serving(settings)).url

        yield start
