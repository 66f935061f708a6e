"""ClickHouse's own client of ZooKeeper, with TLS and an identity, on both servers.

The Python package chdb-core is ClickHouse's server as a library. It has 530 MB, so no command
of the Makefile installs it.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apache import require_apache
from tests.support.secure import Stores
from zoolet.client import ACL, Client, ClientOptions, Credential, NoAuthError
from zoolet.model.acl import Id
from zoolet.testing import ApacheServer, ReservedPort, ServerProcess
from zoolet.testing.servers.process import ExternalServer

USER = "clickhouse:a secret"
ROOT = "/clickhouse"

CONFIG = """<clickhouse>
  <logger><level>none</level></logger>
  <zookeeper>
    <node><host>localhost</host><port>{port}</port><secure>1</secure></node>
    <identity>{user}</identity><root>{root}</root>
  </zookeeper>
  <keeper_map_path_prefix>/maps</keeper_map_path_prefix>
  <openSSL><client>
    <certificateFile>{own}</certificateFile><privateKeyFile>{own}</privateKeyFile>
    <caConfig>{authority}</caConfig><loadDefaultCAFile>false</loadDefaultCAFile>
    <verificationMode>strict</verificationMode>
    <invalidCertificateHandler><name>RejectCertificateHandler</name></invalidCertificateHandler>
  </client></openSSL>
</clickhouse>
"""

MAP = "(key String, value Int) engine = KeeperMap('/map') primary key key"
TREE = "engine = ReplicatedMergeTree('/tree', '{}') order by number"
WORK = {
    "create database d": "",
    f"create table d.map {MAP}": "",
    "insert into d.map values ('a', 1), ('b', 2)": "",
    "insert into d.map values ('a', 3)": "",
    "alter table d.map update value = value + 10 where key = 'b'": "",
    "select key, value from d.map order by key": "a\t3\nb\t12",
    f"create table d.same {MAP}": "",
    "delete from d.same where key = 'a'": "",
    "select groupArray(key) from d.map": "['b']",
    "truncate table d.map": "",
    "select count() from d.same": "0",
    f"create table d.one (number Int) {TREE.format('one')}": "",
    f"create table d.two (number Int) {TREE.format('two')}": "",
}
"""Statements and their answers. ClickHouse as a library does not run the background tasks that fill
replicated tables with data, but it makes their znodes."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture(params=["zoolet", "apache"])
def secured(
    request: pytest.FixtureRequest, tmp_path: Path, stores: Stores
) -> Iterator[tuple[ExternalServer, int]]:
    """A server, and its port for TLS."""
    if importlib.util.find_spec("chdb") is None:
        pytest.skip("needs the Python package chdb-core: pip install --no-deps chdb-core")
    port = ReservedPort()
    settings: dict[str, object] = {"secureClientPort": port.number, **stores.settings}
    running: ExternalServer
    if request.param == "zoolet":
        running = ServerProcess(tmp_path / "server", settings)
    else:
        settings["serverCnxnFactory"] = "org.apache.zookeeper.server.NettyServerCnxnFactory"
        jars = require_apache(request.getfixturevalue("apache_jars"))
        running = ApacheServer(tmp_path / "server", jars, settings)
    with running:
        yield running, port.number
    port.release()


def answers_of(directory: Path, stores: Stores, port: int, statements: list[str]) -> list[str]:
    """Run statements in ClickHouse, and return their answers."""
    config = directory / "config.xml"
    config.write_text(
        CONFIG.format(
            port=port, user=USER, root=ROOT, own=stores.client, authority=stores.authority
        )
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.support.clickhouse_program"),
            *(str(config), str(directory / "clickhouse")),
        ],
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    answers: list[str] = json.loads(done.stdout)
    return answers


def test_tables_in_zookeeper(
    secured: tuple[ExternalServer, int], stores: Stores, tmp_path: Path
) -> None:
    server, port = secured
    login = ClientOptions(auth=(Credential("digest", USER),))
    with Client(server.hosts) as stranger, Client(server.hosts, login) as known:
        stranger.create(ROOT, b"")
        answers = answers_of(tmp_path, stores, port, list(WORK))
        assert dict(zip(WORK, answers, strict=True)) == WORK
        path = f"{ROOT}/tree/replicas"
        assert sorted(known.children(path).names) == ["one", "two"]
        with pytest.raises(NoAuthError):
            stranger.children(path)
        acl, _ = known.get_acl(path)
        assert ("digest", "clickhouse") in [(one.id.scheme, one.id.id.split(":")[0]) for one in acl]
        assert {one.id.scheme for one in acl} == {"digest", "x509"}


def test_a_wrong_identity(
    secured: tuple[ExternalServer, int], stores: Stores, tmp_path: Path
) -> None:
    server, port = secured
    login = ClientOptions(auth=(Credential("digest", "clickhouse:another"),))
    with Client(server.hosts, login) as other:
        other.create(ROOT, b"", acl=(ACL(31, Id("auth", "")),))
        answers = answers_of(tmp_path, stores, port, list(WORK)[:2])
    assert answers[0] == ""
    assert "Not authenticated" in answers[1]
