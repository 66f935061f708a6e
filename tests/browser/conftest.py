"""A real browser on a real page: Debian's Chromium, driven by Playwright.

A test runs on zoolet. With the mark `on_both` it also runs on Apache ZooKeeper. The mark is missing
where the server makes no difference (the look of a page, what a page without JavaScript shows), and
where only zoolet has the feature (samples of requests).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.sasl import PROVIDER
from tests.support.skips import needs
from tests.support.web import PASSWORDS, restoring, settings_of, users_file
from tests.support.web_jobs import ROOT
from tests.support.web_streams import serving
from zoolet.client import Client
from zoolet.jobs import Dispatcher
from zoolet.testing import ApacheServer, EmbeddedServer
from zoolet.testing.servers.base import ManagedServer
from zoolet.web.settings import WebSettings

Serve = Callable[[WebSettings], str]
"""The type of the fixture ``serve``."""

CHROMIUM = Path("/usr/bin/chromium")
SMALL = {"width": 360, "height": 640}
LARGE = {"width": 1200, "height": 800}

on_both = pytest.mark.parametrize("server", ["zoolet", "apache"], indirect=True)
"""The mark of a test that runs on zoolet, and again on Apache ZooKeeper."""

plain_on_both = pytest.mark.parametrize("server", ["plain_zoolet", "plain_apache"], indirect=True)
"""The same with other settings: SASL, and only the four-letter word srvr."""

MIB = 1 << 20
JAVA = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Options with which Java starts fast."""

WITH_SASL = PROVIDER | {"4lw.commands.whitelist": "srvr"}
JAAS = """Server {
  org.apache.zookeeper.server.auth.DigestLoginModule required user_ann="anns secret";
};
"""
JAAS_KEY = "java.security.auth.login.config"


@pytest.fixture(scope="module")
def zoolet_server() -> Iterator[EmbeddedServer]:
    """zoolet, with what may be turned on."""
    with EmbeddedServer(settings={"enforceQuota": "true", "jute.maxbuffer": 4 * MIB}) as running:
        yield running


@pytest.fixture(scope="session")
def apache_server(
    tmp_path_factory: pytest.TempPathFactory, apache_jars: Path
) -> Iterator[ApacheServer]:
    """Apache ZooKeeper, with the same settings: one process for all tests."""
    options = (*JAVA, f"-Djute.maxbuffer={4 * MIB}")
    directory = tmp_path_factory.mktemp("apache")
    with ApacheServer(directory, apache_jars, {"enforceQuota": "true"}, options) as running:
        yield running


def jaas_in(directory: Path) -> Path:
    """Write a file with the user ann of SASL, which only its owner may read."""
    file = directory / "jaas.conf"
    file.write_text(JAAS)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def plain_zoolet_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """zoolet with SASL, its data on disk, and only the four-letter word of the defaults."""
    directory = tmp_path_factory.mktemp("plain")
    with EmbeddedServer(directory, {**WITH_SASL, JAAS_KEY: jaas_in(directory)}) as running:
        yield running


@pytest.fixture(scope="session")
def plain_apache_server(
    tmp_path_factory: pytest.TempPathFactory, apache_jars: Path
) -> Iterator[ApacheServer]:
    """Apache ZooKeeper with the same settings: one process for all tests."""
    directory = tmp_path_factory.mktemp("plain-apache")
    options = (*JAVA, f"-D{JAAS_KEY}={jaas_in(directory)}")
    with ApacheServer(directory, apache_jars, WITH_SASL, options) as running:
        yield running


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[ManagedServer]:
    """The server of a test, which leaves nothing on it."""
    name = getattr(request, "param", "zoolet")
    running: ManagedServer = request.getfixturevalue(f"{name}_server")
    with restoring(running):
        yield running


@pytest.fixture
def zk(server: ManagedServer) -> Iterator[Client]:
    with Client(server.hosts) as client:
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


@pytest.fixture
def editor_url(serve: Serve, server: ManagedServer, tmp_path: Path) -> str:
    """The URL of a page on which editors may change something."""
    settings = settings_of(server.hosts, users_file=users_file(tmp_path), allows_changes=True)
    return serve(settings)


@pytest.fixture
def dispatcher(server: ManagedServer) -> Iterator[Dispatcher]:
    """A dispatcher on a new queue."""
    with Dispatcher(server.hosts, ROOT, create=True) as opened:
        yield opened


def log_in(tab: Any, name: str = "ed") -> None:
    """Log in on the page that asks for it."""
    tab.get_by_label("Name").fill(name)
    tab.get_by_label("Password").fill(PASSWORDS[name])
    tab.get_by_role("button", name="Log in").click()


def cookies_of_editor(chromium: Any, url: str) -> Any:
    """Return the cookies of an editor. A name may log in only 20 times a minute."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{url}/login")
    log_in(page)
    page.get_by_role("button", name="Log out").wait_for()
    found = context.cookies()
    context.close()
    return found


def wait_for_page(tab: Any, heading: str) -> None:
    """Wait for a page with this heading, for all of it and for its styles.

    A browser shows the beginning of a page before the rest has arrived. So wait for the page before
    you count its elements, or read styles and sizes.
    """
    tab.get_by_role("heading", name=heading, exact=True).wait_for()
    tab.wait_for_load_state("load")
