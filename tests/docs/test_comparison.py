"""docs/comparison.md: the column of zoolet is true, and every other statement names a source.

Each row has a check with the name of the row. A check gets the text of the cell. It compares the
figures in the text with the code, and it tries what the text says. For a new row, add a check.
"""

import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    ConnectionLoss,
    InvalidACLError,
    ZookeeperError,
)
from kazoo.security import make_acl

from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.client.kazoo import Watches, WatchEvent
from zoolet.jobs import (
    Dispatcher,
    InvalidJobError,
    JobRequest,
    JobState,
    Limit,
    Origin,
    Place,
    When,
)
from zoolet.jobs.cli.worker_command import worker
from zoolet.jobs.records.settings import QueueSettings
from zoolet.jobs.records.transitions import TRANSITIONS, Event
from zoolet.model.codes import AddWatchMode
from zoolet.server.common.errors import ConfigError
from zoolet.server.operator.four_letter_words import WORDS
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.testing import EmbeddedServer, pytest_plugin

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "comparison.md").read_text()
SOURCE = re.compile(r"\[([A-Z]\d?(?:, [A-Z]\d?)*)\]$")
WAIT_S = 10
Row = tuple[str, list[str]]
Check = Callable[[str, EmbeddedServer, KazooClient], None]


def rows(heading: str) -> list[Row]:
    """Return the rows of the table in a section: the name, and the other cells."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(name, rest) for name, *rest in cells[2:]]


SERVERS = rows("Coordination servers")
JOBS = rows("Job systems")
SOURCES = dict(rows("Sources"))


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with EmbeddedServer(tmp_path / "server", {"4lw.commands.whitelist": "*"}) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Any:
    client = server.client()
    client.start()
    yield client
    client.stop()
    client.close()


def config(*lines: str) -> Any:
    text = "\n".join(["dataDir=/data", "clientPort=2181", *lines])
    return parse_config(text, Path("zoo.cfg"))


# --- The server


def protocol(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "ZooKeeper's"
    assert client.create("/a", b"1") == "/a"
    assert client.get("/a")[0] == b"1"


def language(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    assert cell == "Python, compiled with mypyc if a C compiler exists"
    script = (ROOT / "setup.py").read_text()
    assert "mypyc" in script
    assert "so this build is pure Python" in script


def members(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    assert cell == "1, or an observer of an Apache ZooKeeper ensemble"
    config("server.1=a:2888:3888")
    with pytest.raises(ConfigError, match="sets up an ensemble"):
        config("server.1=a:2888:3888", "server.2=b:2888:3888")


def reads(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    assert "only changes that are on disk" in cell
    with EmbeddedServer() as server:
        client = server.client()
        client.start()
        client.create("/a", b"old")
        server.disk.hold_syncs()
        writing = client.set_async("/a", b"new")
        server.disk.wait_for_sync()
        reading = client.get_async("/a")
        assert not reading.ready()
        assert not writing.ready()
        server.disk.release_syncs()
        assert reading.get(timeout=WAIT_S)[0] == b"new"
        client.stop()
        client.close()


def files(cell: str, server: EmbeddedServer, _: KazooClient) -> None:
    assert cell == "Apache ZooKeeper's formats"
    data = Path(server.config.data_dir) / "version-2"
    server.stop()
    assert next(data.glob("snapshot.*")).read_bytes().startswith(b"ZKSN")
    assert next(data.glob("log.*")).read_bytes().startswith(b"ZKLG")


def size(cell: str, server: EmbeddedServer, client: KazooClient) -> None:
    """Without the files, the server still has the data."""
    assert cell == "the whole tree is in memory"
    client.create("/a", b"1")
    for path in (Path(server.config.data_dir) / "version-2").iterdir():
        path.unlink()
    assert client.get("/a")[0] == b"1"


def largest(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell.startswith(f"{config().max_frame_bytes:,} bytes by default (`jute.maxbuffer`)")
    client.create("/a", b"x" * (config().max_frame_bytes - 1000))
    with pytest.raises(ConnectionLoss):
        client.set("/a", b"x" * (config().max_frame_bytes + 1))


def history(cell: str, server: EmbeddedServer, client: KazooClient) -> None:
    assert "`zoolet data history`" in cell
    client.create("/a", b"one")
    client.set("/a", b"two")
    shown = CliRunner().invoke(main, ["data", "history", str(server.config.data_dir), "/a"])
    assert '"data": "one"' in shown.output
    assert '"data": "two"' in shown.output


def watches(cell: str, server: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "one-shot; persistent; persistent and recursive"
    watching = server.client()
    kept = Watches(watching)
    watching.start()
    seen: dict[str, list[str]] = {"once": [], "persistent": [], "recursive": []}

    def note(name: str, event: WatchEvent) -> None:
        seen[name].append(event.path)

    kept.exists("/a", partial(note, "once"))
    for name, mode in (
        ("persistent", AddWatchMode.PERSISTENT),
        ("recursive", AddWatchMode.PERSISTENT_RECURSIVE),
    ):
        kept.add("/a", mode, partial(note, name))
    client.create("/a")
    client.create("/a/b")
    client.set("/a", b"1")
    client.create("/a/b/c")
    wait_until(lambda: "/a/b/c" in seen["recursive"], "the last event")
    watching.stop()
    watching.close()
    assert seen == {
        "once": ["/a"],
        "persistent": ["/a"] * 3,
        "recursive": ["/a", "/a/b", "/a", "/a/b/c"],
    }


def transactions(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "writes and version checks, all or none"
    client.create("/a")
    change = client.transaction()
    change.create("/b")
    change.check("/a", version=7)
    assert isinstance(change.commit()[1], BadVersionError)
    assert client.exists("/b") is None


def ephemerals(cell: str, server: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "znodes that end with a session"
    client.create("/a", ephemeral=True)
    server.faults.expire(client)
    server.inside.wait_until_quiet()
    server.inside.assert_path("/a", exists=False)


def access(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "ACLs with world, auth, digest, ip, x509 and sasl (DIGEST-MD5, Kerberos)"
    client.add_auth("digest", "user:password")
    ids = {"world": "anyone", "auth": "", "digest": "u:x", "ip": "10.0.0.0/8"}
    for number, (scheme, name) in enumerate(ids.items()):
        client.create(f"/{number}", acl=[make_acl(scheme, name, all=True)])
    with pytest.raises(InvalidACLError):
        client.create("/sasl", acl=[make_acl("sasl", "user", all=True)])
    provider = "org.apache.zookeeper.server.auth.{}AuthenticationProvider"
    assert "x509" in config(f"authProvider.x509={provider.format('X509')}").rules.schemes
    sasl = f"authProvider.sasl={provider.format('SASL')}"
    with tempfile.NamedTemporaryFile() as keytab:
        keytab.write(b"\5\2")
        keytab.flush()
        principal = "zoolet.kerberosPrincipal=zookeeper/a@R"
        with_sasl = config(sasl, f"zoolet.kerberosKeytab={keytab.name}", principal)
    assert "sasl" in with_sasl.rules.schemes
    assert with_sasl.sasl is not None
    assert with_sasl.sasl.kerberos is not None


def tls(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    assert cell == "yes"
    secure = config(
        "secureClientPort=2281", "ssl.keyStore.location=/server.pem", "ssl.clientAuth=none"
    )
    assert secure.tls is not None


def audit_log(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    assert cell == "of all changes, as text or JSON; data of clients is escaped"
    assert config().audit is None
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "audit.log"
        lines = ("audit.enable=true", f"zoolet.audit.file={path}")
        for form, mark in (("apache", "znode=/a\\n\t"), ("json", '"znode": "/a\\n"')):
            settings = {**dict(line.split("=", 1) for line in lines), "zoolet.audit.format": form}
            with EmbeddedServer(Path(directory) / form, settings) as server:
                client = server.client()
                client.start()
                with pytest.raises(BadArgumentsError):
                    client.create("/a\n")
                client.stop()
                client.close()
            assert mark in path.read_text(), form


def reconfig(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "there is one server"
    with pytest.raises(ZookeeperError):
        client.reconfig(joining="server.2=b:2888:3888;2181", leaving=None, new_members=None)


def monitoring(cell: str, server: EmbeddedServer, _: KazooClient) -> None:
    assert cell == "four-letter words, JSON over HTTP, Prometheus"
    assert {b"ruok", b"srvr", b"mntr"} <= WORDS
    assert "zk_version" in server.ask("mntr")
    assert config().admin is not None
    prometheus = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
    assert config(f"metricsProvider.className={prometheus}").metrics is not None


def fixtures(cell: str, server: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "pytest fixtures, in the process of the tests, with faults"
    assert callable(pytest_plugin.zookeeper)
    server.faults.on(path="/a").lose_request()
    with pytest.raises(ConnectionLoss):
        client.create("/a")


def measured(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    """The figures are those of the tables in docs/performance.md, for both servers."""
    table = (ROOT / "docs" / "performance.md").read_text()
    (apache,) = [rest[1] for name, rest in SERVERS if rest[0] == cell]
    for row, unit in (
        ("start to ready, empty: ms", " ms"),
        ("resident without znodes .*: MB", " MB"),
    ):
        found = re.search(rf"^\| {row} \| ([\d.]+) \| ([\d.]+) \|", table, re.MULTILINE)
        assert found is not None
        assert f"{found[1]}{unit}" in apache
        assert f"{found[2]}{unit}" in cell


SERVER_CHECKS: dict[str, Check] = {
    "protocol of clients": protocol,
    "written in": language,
    "servers of one service": members,
    "reads": reads,
    "files": files,
    "size of the data": size,
    "largest request": largest,
    "old versions of a value": history,
    "watches": watches,
    "transactions": transactions,
    "ephemerals": ephemerals,
    "access control": access,
    "TLS for clients": tls,
    "audit log": audit_log,
    "changing the members": reconfig,
    "monitoring": monitoring,
    "in a test suite": fixtures,
    "start to ready, and memory, without data": measured,
}


# --- Jobs


def finish_one(dispatcher: Dispatcher, result: object) -> None:
    queue = dispatcher.queue
    queue.register("w")
    queue.finish(queue.own_job(queue.waiting()[0].name, "w"), result)


def needs(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    """The queue is nothing but znodes, so any ZooKeeper will do."""
    assert cell == "zoolet or Apache ZooKeeper"
    Dispatcher(client, "/q", create=True).submit("m:f")
    assert client.get_children("/q/unowned") != []


def killed_worker(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    (timeout_ms,) = [
        option.default for option in worker.params if option.name == "session_timeout_ms"
    ]
    assert isinstance(timeout_ms, int)
    assert f"after {timeout_ms // 1000} s by default" in cell
    lost = {(row.place, row.next_place) for row in TRANSITIONS if row.event is Event.LOSE_WORKER}
    assert (Place.OWNED, Place.UNOWNED) in lost


def killed_server(cell: str, server: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "acknowledged jobs are on disk"
    dispatcher = Dispatcher(client, "/q", create=True)
    batch = dispatcher.submit("m:f")
    server.kill()
    server.start()
    assert dispatcher.job(batch.submissions[0].name).state is JobState.PENDING


def attempts(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    request = JobRequest("m:f")
    assert f"{request.max_attempts} attempts by default" in cell
    assert "optional delay" in cell
    assert request.backoff_ms == 0


def priority(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "of each job, 0 to 999"
    dispatcher = Dispatcher(client, "/q", create=True)
    dispatcher.submit("m:f", priority=0)
    dispatcher.submit("m:f", priority=999)
    assert [job.priority for job in dispatcher.queue.waiting()] == [999, 0]
    with pytest.raises(InvalidJobError):
        dispatcher.submit("m:f", priority=1000)


def locality(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    assert cell.startswith("yes")
    assert any(option.name == "locality_wait_ms" for option in worker.params)


def same_work(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "runs once if it has data or a key"
    dispatcher = Dispatcher(client, "/q", create=True)
    for reused in (JobRequest("m:f", "d", "g"), JobRequest("m:f", idempotency_key="k")):
        origins = [dispatcher.submit_batch([reused]).submissions[0].origin for _ in range(2)]
        assert origins == [Origin.NEW, Origin.JOINED]
    origins = [dispatcher.submit("m:f").submissions[0].origin for _ in range(2)]
    assert origins == [Origin.NEW, Origin.NEW]


def json_only(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell == "JSON"
    with pytest.raises(InvalidJobError):
        Dispatcher(client, "/q", create=True).submit("m:f", parameters={"a": b"bytes"})


def results(cell: str, _: EmbeddedServer, __: KazooClient) -> None:
    settings = QueueSettings()
    assert f"larger than {settings.inline_limit_bytes // 1024} KiB in a SQL database" in cell
    assert "kept until they are removed" in cell
    assert (settings.keep_done_ms, settings.keep_done_jobs) == (None, None)


def after(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell.startswith("after batches and jobs, with a condition, and with their results")
    dispatcher = Dispatcher(client, "/q", create=True)
    first = dispatcher.submit_batch([JobRequest("m:f")], name="first")
    wanted = When.ALL_SUCCEEDED
    dispatcher.submit_batch([JobRequest("m:g")], after=[first], when=wanted, receive="results")
    assert [job.task for job in dispatcher.queue.waiting()] == ["m:f"]


def schedules(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell.startswith("cron expressions and intervals, with time zones")
    with Dispatcher(client, "/jobs/comparison", create=True) as dispatcher:
        request, zone = JobRequest("m:f"), "Europe/Berlin"
        dispatcher.schedules.add("a", request, cron="30 2 * * MON", timezone=zone)
        dispatcher.schedules.add("b", request, every_ms=60_000)
        assert [one.name for one in dispatcher.schedules.all()] == ["a", "b"]


def limits(cell: str, _: EmbeddedServer, client: KazooClient) -> None:
    assert cell.startswith("starts per second and attempts at a time, for a queue, task, dataset")
    with Dispatcher(client, "/jobs/comparison", create=True) as dispatcher:
        dispatcher.queue.limits.add(Limit("all", concurrent=2))
        dispatcher.queue.limits.add(Limit("mail", per_second=5, task="m:f"))
        dispatcher.queue.limits.add(Limit("flights", concurrent=1, dataset="flights"))
        dispatcher.queue.limits.add(Limit("ann", concurrent=1, key="ann"))
        assert len(dispatcher.queue.limits.all()) == 4


JOB_CHECKS: dict[str, Check] = {
    "needs": needs,
    "a worker is killed during a job": killed_worker,
    "the server, broker or scheduler is killed": killed_server,
    "failed attempts": attempts,
    "priority": priority,
    "jobs run where their data is": locality,
    "the same work submitted twice": same_work,
    "parameters and results": json_only,
    "results": results,
    "a job after another": after,
    "periodic jobs": schedules,
    "rate limits": limits,
}


# --- The page


@pytest.mark.parametrize(
    ("row", "check"),
    [
        *((row, SERVER_CHECKS.get(row[0])) for row in SERVERS),
        *((row, JOB_CHECKS.get(row[0])) for row in JOBS),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_the_page_says_of_zoolet_is_true(
    row: Row, check: Check | None, server: EmbeddedServer, client: KazooClient
) -> None:
    name, (cell, *_) = row
    assert check is not None, f"there is no check for the row {name!r}"
    check(cell, server, client)


def test_the_page_has_every_checked_row() -> None:
    assert [name for name, _ in SERVERS] == list(SERVER_CHECKS)
    assert [name for name, _ in JOBS] == list(JOB_CHECKS)


@pytest.mark.parametrize("row", [*SERVERS, *JOBS], ids=lambda row: row[0])
def test_every_other_statement_names_its_source(row: Row) -> None:
    _, (_, *others) = row
    for cell in others:
        found = SOURCE.search(cell)
        assert found is not None, cell
        assert set(found[1].split(", ")) <= set(SOURCES), cell


def test_every_source_has_a_version_and_is_used() -> None:
    for name, (title, version) in SOURCES.items():
        assert title
        assert re.search(r"\d", version), name
        assert re.search(rf"\[[^]]*\b{name}\b[^]]*\]", PAGE), name
