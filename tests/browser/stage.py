"""A cluster with something on every page: a contended lock, a full quota, a queue that works."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.support.web import settings_of, users_file
from tests.support.web_jobs import ROOT, ended, request, working
from tests.support.web_streams import serving
from zoolet.client import Client, CreateMode
from zoolet.jobs import Dispatcher, JobRequest
from zoolet.testing import EmbeddedServer
from zoolet.web.settings import PastSource

WORDS = "srvr,mntr,cons,dump,wchs,wchc,topk"
HEX = "0123456789abcdef" * 2
LONG = "x" * 190
JOBS = "/c/local/jobs/flights"


class Stage(NamedTuple):
    """What the tests need to know.

    Attributes:
        url: the URL of the page without the last slash.
        holder: the znode of the holder of /lock.
        session: the session of the holder, as the page names it.
        failed: the job that has failed.
        change: a zxid after the first changes.
    """

    url: str
    holder: str
    session: str
    failed: str
    change: int

    def pages(self) -> list[str]:
        """Return the URLs of all pages with parameters, and of those with data."""
        return [f"/c/local/{page}" for page in self._znodes()] + [
            f"{JOBS}{page}" for page in self._jobs()
        ]

    def _znodes(self) -> list[str]:
        return [
            "changes?path=/app",
            f"compare?path=/app&from={self.change:#x}&to=now",
            "history?path=/app",
            "import?path=/app",
            "quota?path=/app",
            "quota?path=/json",
            "quotas",
            "recipes",
            "recipes/one?path=/lock",
            "recipes/one?path=/party",
            f"recipes/break?path=/lock&znode={self.holder}",
            "search?path=/app&text=1",
            "server",
            "sessions",
            f"sessions/{self.session}",
            "sessions/0x1",
            "top",
            "transfer?path=/app",
            "transfer?path=/app&target=/copy",
            "tree?path=/app",
        ]

    def _jobs(self) -> list[str]:
        job = quote(self.failed, safe="")
        return [
            "",
            "/list",
            "/list?state=FAILED&error=ValueError",
            f"/job/{job}",
            "/failures",
            "/batches",
            "/batch/first",
            "/workers",
            "/schedules",
            f"/graph/{job}",
            "/graph/second",
            "/history",
            "/changes",
            "/changes?state=FAILED&change=cancel",
        ]


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Run a server, a worker and the page."""
    with ExitStack() as stack:
        server = stack.enter_context(
            EmbeddedServer(
                directory / "server",
                {"4lw.commands.whitelist": WORDS, "enforceQuota": "true"},
            )
        )
        zk = stack.enter_context(Client(server.hosts))
        change = _fill(zk)
        holder = _contend(zk)
        stores = {"results": f"sqlite:///{directory}/results.db"}
        dispatcher = stack.enter_context(
            Dispatcher(server.hosts, ROOT, create=True, result_stores=stores)
        )
        stack.enter_context(working(server.hosts, directory))
        failed = _submit(dispatcher, directory)
        dispatcher.queue.configure(result_store="results")
        settings = settings_of(
            server.hosts,
            users_file=users_file(directory),
            allows_changes=True,
            past={"local": PastSource(str(directory / "server" / "data"), is_archive=False)},
            result_stores=stores,
        )
        page = stack.enter_context(serving(settings))
        yield Stage(page.url, holder, f"{zk.session_id.id:#x}", failed, change)


def _fill(zk: Client) -> int:
    """Create /app with a full quota, data and a party; return a zxid between its changes."""
    created: Any = zk.create("/app", b"first")
    for number in range(9):
        zk.create(f"/app/{number}", b"x" * number)
    zk.create("/json", b'{"a": {"b": [1, "<b>"]}}')
    zk.create("/zookeeper/quota/app")
    zk.create("/zookeeper/quota/app/zookeeper_limits", b"count=10,bytes=-1=;byteHardLimit=4096")
    zk.create("/zookeeper/quota/app/zookeeper_stats", b"count=0,bytes=0")
    zk.set("/app", b"second")
    zk.create("/party")
    zk.create(f"/party/{HEX}__party__", b"ann", mode=CreateMode.EPHEMERAL)
    return int(created.stat.czxid)


def _contend(zk: Client) -> str:
    """Create contenders of a lock of kazoo; return the znode of the holder."""
    zk.create("/lock")
    prefix, mode = f"/lock/{HEX}__lock__", CreateMode.EPHEMERAL_SEQUENTIAL
    texts = (b"nightly import on db-7", b"report", b"x" * 300)
    holder, *_ = [zk.create(prefix, text, mode=mode).path for text in texts]
    return holder


def _submit(dispatcher: Dispatcher, directory: Path) -> str:
    """Run jobs that end, fail, run and wait; return the name of one that has failed."""
    [bad, *_] = ended(
        dispatcher,
        request("wrong", {"text": "not an address"}),
        request("echo", {"n": 1}),
        request("repaired", {"file": str(directory / "none")}),
    )
    waits = request("waits", {"file": str(directory / "never")})
    dispatcher.submit_batch([waits] * 3, name="first")
    dispatcher.submit_batch([request("echo", {"n": 2})], name="second", after="first")
    dispatcher.submit(f"m:{LONG}", LONG, "1")
    dispatcher.schedules.add("nightly", JobRequest("m:f"), cron="0 3 * * *")
    dispatcher.queue.pauses.add_task("m:paused")
    return str(bad.name)
