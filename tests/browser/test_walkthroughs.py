"""The three walk-throughs of docs/web.md, to their ends in a real browser.

With ``--screenshots DIR`` they write the pictures of the page (``make web-screenshots``).
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.browser.stage import WORDS
from tests.support.jobs import WorkerProcess
from tests.support.pages import ROOT
from tests.support.web import PASSWORDS, users_file
from zoolet.client import Client, QuotaExceededError
from zoolet.jobs import Dispatcher, JobRequest, JobState
from zoolet.testing import EmbeddedServer
from zoolet.web.settings import Cluster, WebSettings

Serve = Callable[[WebSettings], str]
Picture = Callable[..., None]
IMAGES = ROOT / "docs" / "images"
PICTURE = {"width": 1100, "height": 800}
MOST_BYTES = 150 << 10
TASKS = """
from pathlib import Path

def send(group, parameters):
    print("sends to", parameters["to"])
    return template("welcome.txt")

def template(name):
    file = Path(__file__).with_name(name)
    if not file.exists():
        raise FileNotFoundError(f"no template {name}")
    return file.read_text()

def count(group, parameters):
    return parameters
"""


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(
        settings={"4lw.commands.whitelist": WORDS, "enforceQuota": "true"}
    ) as running:
        yield running


@pytest.fixture
def zk(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.hosts) as client:
        yield client


@pytest.fixture
def picture(tab: Any, request: pytest.FixtureRequest) -> Picture:
    """A function that writes a picture of the tab, if the option says where.

    The picture has what is above a heading, or the whole page.
    """
    directory: Path | None = request.config.getoption("--screenshots")
    tab.set_viewport_size(PICTURE)
    tab.emulate_media(color_scheme="light")

    def write(name: str, above: str = "") -> None:
        assert name in pictures_of_page()
        if directory is None:
            return
        tab.wait_for_load_state("load")
        tab.evaluate("document.activeElement.blur()")
        if above:
            height = tab.get_by_role("heading", name=above, exact=True).bounding_box()["y"]
        else:
            height = tab.evaluate("document.body.getBoundingClientRect().height")
        clip = {"x": 0, "y": 0, "width": PICTURE["width"], "height": height}
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"web-{name}.png"
        tab.screenshot(path=file, clip=clip, full_page=True, animations="disabled")
        assert file.stat().st_size <= MOST_BYTES

    return write


@pytest.fixture
def start(tab: Any, serve: Serve, server: EmbeddedServer, tmp_path: Path) -> Callable[[str], None]:
    """A function that shows the page at a link of the head, to an editor."""

    def open_page(link: str) -> None:
        cluster = Cluster("shop", server.hosts, "blue")
        users = users_file(tmp_path)
        tab.goto(serve(WebSettings((cluster,), users_file=users, allows_changes=True)))
        tab.get_by_label("Name").fill("ed")
        tab.get_by_label("Password").fill(PASSWORDS["ed"])
        tab.get_by_role("button", name="Log in").click()
        tab.get_by_role("link", name="shop", exact=True).click()
        click(tab, link)

    return open_page


def click(tab: Any, link: str) -> None:
    tab.get_by_role("link", name=link, exact=True).first.click()


def press(tab: Any, button: str) -> None:
    tab.get_by_role("button", name=button, exact=True).click()


def heading(tab: Any, text: str) -> None:
    tab.get_by_role("heading", name=text, exact=True).wait_for()


def test_a_stuck_lock(
    tab: Any,
    start: Callable[[str], None],
    picture: Picture,
    server: EmbeddedServer,
    zk: Client,
) -> None:
    path = "/stock/lock"
    zk.create("/stock")
    with ExitStack() as stack:
        held = zk.lock(path, "nightly import on db-7")
        held.acquire()
        others = [stack.enter_context(Client(server.hosts)) for _ in range(2)]
        pool = stack.enter_context(ThreadPoolExecutor(2))
        for number, other in enumerate(others, start=1):
            waiting = other.lock(path, f"stock report on app-{number}")
            got = pool.submit(waiting.acquire)
            while len(zk.children(path).names) <= number:
                assert not got.done()
            if number == 1:
                first, next_holder = got, waiting
        stack.enter_context(zk.party("/stock/workers", "db-7"))
        start("Recipes")
        tab.get_by_text("2 wait, the first asked").wait_for()
        picture("lock-list")
        click(tab, path)
        heading(tab, "Holds it: 1")
        heading(tab, "Waits: 2")
        tab.get_by_text("from 127.0.0.1").first.wait_for()
        picture("lock")
        click(tab, "Break…")
        heading(tab, f"Break {path} in shop?")
        picture("lock-break")
        press(tab, "Delete the holder's znode in shop")
        heading(tab, "Waits: 1")
        assert "stock report on app-1" in tab.locator(".members").first.inner_text()
        first.result(60)
        assert held.lost
        next_holder.release()


def test_a_full_quota(tab: Any, start: Callable[[str], None], picture: Picture, zk: Client) -> None:
    names = ["carts", *[f"carts/{n}" for n in range(3)], "old", *[f"old/{n}" for n in range(4)]]
    for name in ("", *[f"/{name}" for name in names]):
        zk.create(f"/shop{name}")
    zk.create("/mail", b"x" * 700)
    _limit(zk, "shop", b"count=-1,bytes=-1=;countHardLimit=10")
    _limit(zk, "mail", b"count=20,bytes=-1=;byteHardLimit=2000")
    with pytest.raises(QuotaExceededError):
        zk.create("/shop/carts/3")
    start("Server")
    click(tab, "Quotas")
    tab.get_by_text("100%, full").wait_for()
    picture("quota-list")
    click(tab, "/shop")
    heading(tab, "Quota of /shop in shop")
    tab.get_by_role("row", name="old 5").wait_for()
    picture("quota", above="Change the quota")
    click(tab, "old")
    click(tab, "Delete…")
    press(tab, "Delete 5 in shop")
    tab.get_by_text("children").first.wait_for()
    click(tab, "Server")
    click(tab, "Quotas")
    tab.get_by_text("50%").first.wait_for()
    assert tab.get_by_text("full", exact=False).count() == 1  # "the fullest first"
    zk.create("/shop/carts/3")


def _limit(zk: Client, name: str, limits: bytes) -> None:
    zk.create(f"/zookeeper/quota/{name}")
    zk.create(f"/zookeeper/quota/{name}/zookeeper_limits", limits)
    zk.create(f"/zookeeper/quota/{name}/zookeeper_stats", b"count=0,bytes=0")


@pytest.fixture
def tasks() -> Iterator[Path]:
    """A folder with the tasks of a worker; its name is short, because the pictures show it."""
    with TemporaryDirectory(prefix="tasks-") as directory:
        (Path(directory) / "mail.py").write_text(TASKS)
        yield Path(directory)


@pytest.fixture
def queue(server: EmbeddedServer, tasks: Path) -> Iterator[Dispatcher]:
    """A queue whose jobs have ended, three of them with an error."""
    root = "/jobs/mail"
    with Dispatcher(server.hosts, root, create=True) as dispatcher:
        worker = WorkerProcess(server.hosts, tasks, "--executors", "2", root=root, loader=None)
        try:
            people = [{"to": f"{name}@example.org"} for name in ("ada", "bob", "cy")]
            for task, values in (("count", [{"n": n} for n in range(5)]), ("send", people)):
                dispatcher.submit_batch(
                    [JobRequest(f"mail:{task}", None, None, one, max_attempts=1) for one in values]
                ).results(timeout_s=60)
            yield dispatcher
        finally:
            worker.close()


def test_a_failing_task(
    tab: Any,
    start: Callable[[str], None],
    picture: Picture,
    queue: Dispatcher,
    tasks: Path,
) -> None:
    start("Jobs")
    click(tab, "mail")
    tab.get_by_text("FAILED of the newest 8 ended").wait_for()
    picture("queue", above="The last hour")
    click(tab, "Failures")
    tab.get_by_role("row", name=re.compile("FileNotFoundError mail:send 3")).wait_for()
    picture("failures")
    click(tab, "FileNotFoundError")
    tab.get_by_text("3 jobs found").wait_for()
    tab.locator("tbody a").first.click()
    assert "welcome.txt" in tab.get_by_label("Error of attempt 1").inner_text()
    assert "sends to" in tab.get_by_label("Output of attempt 1").inner_text()
    picture("job", above="Parameters")
    (tasks / "welcome.txt").write_text("Welcome!")
    press(tab, "Retry the job in shop")
    tab.locator(".state").get_by_text("SUCCESSFUL").wait_for()
    click(tab, "Failures")
    click(tab, "FileNotFoundError")
    click(tab, "Retry these…")
    press(tab, "Count the jobs")
    press(tab, "Retry 2 jobs in shop")
    tab.get_by_text("2 jobs were changed").wait_for()
    click(tab, "Changes of the queue")
    click(tab, "Queue")
    tab.get_by_text("None of the newest 8 ended jobs has failed.").wait_for()
    assert queue.queue.states()[JobState.SUCCESSFUL] == 8


def pictures_of_page() -> set[str]:
    """Return the names of the pictures that docs/web.md shows."""
    return set(
        re.findall(r"!\[[^\]]+\]\(images/web-(\S+)\.png\)", (ROOT / "docs/web.md").read_text())
    )


def test_the_page_shows_every_picture() -> None:
    files = {file.name for file in IMAGES.iterdir()}
    assert files == {f"web-{name}.png" for name in pictures_of_page()}
    assert max(file.stat().st_size for file in IMAGES.iterdir()) <= MOST_BYTES
