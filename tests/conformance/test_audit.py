"""The audit log: the same records, field by field, as Apache ZooKeeper writes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.audit import fields_of, lines_of
from tests.support.rawclient import RawClient, multi_body
from tests.support.waiting import wait_until
from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.model.codes import OpCode
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS, QUICK_START
from zoolet.testing.servers.process import ExternalServer
from zoolet.wire.jute import INT, LONG, pack_acl, pack_buffer, pack_ustring

SETTINGS = {
    "audit.enable": "true",
    "zoolet.audit.onFailure": "stop",
    "extendedTypesEnabled": "true",
    "tickTime": 500,
}
PATTERN = "%d{yyyy-MM-dd HH:mm:ss,SSS} %p %c{2}: %m%n"
LOG4J1 = f"""
log4j.rootLogger=OFF
log4j.logger.org.apache.zookeeper.audit.Slf4jAuditLogger=INFO, AUDIT
log4j.appender.AUDIT=org.apache.log4j.FileAppender
log4j.appender.AUDIT.File=FILE
log4j.appender.AUDIT.layout=org.apache.log4j.PatternLayout
log4j.appender.AUDIT.layout.ConversionPattern={PATTERN}
"""
LOG4J2 = f"""
rootLogger.level=OFF
appender.audit.type=File
appender.audit.name=AUDIT
appender.audit.fileName=FILE
appender.audit.layout.type=PatternLayout
appender.audit.layout.pattern={PATTERN}
logger.audit.name=org.apache.zookeeper.audit.Slf4jAuditLogger
logger.audit.level=INFO
logger.audit.appenderRef.audit.ref=AUDIT
"""

Step = Callable[[RawClient], object]
READ_ONLY: AclList = (ACL(1, Id("world", "anyone")),)
SEVERAL: AclList = (*READ_ONLY, ACL(31, Id("digest", "bob:hash")), ACL(9, Id("ip", "10.0.0.0/8")))


def create_body(path: str | None, flags: int = 0, acl: AclList = OPEN_ACL) -> bytes:
    name = INT.pack(-1) if path is None else pack_ustring(path)
    return name + pack_buffer(b"x") + pack_acl(acl) + INT.pack(flags)


def set_body(path: str, version: int = -1) -> bytes:
    return pack_ustring(path) + pack_buffer(b"y") + INT.pack(version)


def delete_body(path: str, version: int = -1) -> bytes:
    return pack_ustring(path) + INT.pack(version)


def acl_body(path: str, acl: AclList, version: int = -1) -> bytes:
    return pack_ustring(path) + pack_acl(acl) + INT.pack(version)


def request(op_code: OpCode, body: bytes) -> Step:
    return lambda client: client.request(op_code, body)


def multi(*parts: tuple[OpCode, bytes]) -> Step:
    return request(OpCode.MULTI, multi_body([(int(code), body) for code, body in parts]))


def auth(name: str) -> Step:
    body = INT.pack(0) + pack_ustring("digest") + pack_buffer(name.encode())
    return lambda client: client.request(OpCode.AUTH, body, xid=-4)


CREATE, DELETE, SET, ACLS = OpCode.CREATE, OpCode.DELETE, OpCode.SET_DATA, OpCode.SET_ACL
CHECK, TTL, CONTAINER = OpCode.CHECK, OpCode.CREATE_TTL, OpCode.CREATE_CONTAINER

STEPS: Final[dict[str, Step]] = {
    **{f"create{flags}": request(CREATE, create_body(f"/c{flags}", flags)) for flags in range(5)},
    "create2": request(OpCode.CREATE2, create_body("/two")),
    "ttl5": request(TTL, create_body("/ttl", 5) + LONG.pack(100_000)),
    "ttl6": request(TTL, create_body("/ttl", 6) + LONG.pack(100_000)),
    "bad-ttl": request(TTL, create_body("/bad-ttl", 5) + LONG.pack(-5)),
    "container": request(CONTAINER, create_body("/container", 4)),
    "container0": request(CONTAINER, create_body("/container0", 0)),
    "exists": request(CREATE, create_body("/two")),
    "exists-sequence": request(CREATE, create_body("/nobody/q-", 2)),
    "no-parent": request(CREATE, create_body("/no/parent", 1)),
    "bad-path": request(CREATE, create_body("relative")),
    "double-slash": request(CREATE, create_body("/a//b")),
    "unicode": request(CREATE, create_body("/größe ☃ =x")),
    "null-path": request(CREATE, create_body(None)),
    "no-acl": request(CREATE, create_body("/no-acl", 0, ())),
    "protected": request(CREATE, create_body("/protected", 0, READ_ONLY)),
    "no-auth": request(CREATE, create_body("/protected/child")),
    "no-auth-set": request(SET, set_body("/protected")),
    "set": request(SET, set_body("/two")),
    "set-bad-version": request(SET, set_body("/two", 77)),
    "set-missing": request(SET, set_body("/missing")),
    "login": auth("bob:secret"),
    "set-as-bob": request(SET, set_body("/two")),
    "login-again": auth("eve:secret"),
    "set-as-both": request(SET, set_body("/two")),
    "set-acl": request(ACLS, acl_body("/two", OPEN_ACL)),
    "set-acl-several": request(ACLS, acl_body("/two", SEVERAL)),
    "set-acl-auth": request(ACLS, acl_body("/c0", (ACL(31, Id("auth", "")),))),
    "set-acl-bad-version": request(ACLS, acl_body("/c0", OPEN_ACL, 99)),
    "set-acl-missing": request(ACLS, acl_body("/missing", OPEN_ACL)),
    "set-acl-invalid": request(ACLS, acl_body("/c0", (ACL(31, Id("nothing", "x")),))),
    "multi": multi(
        (CREATE, create_body("/m")),
        (OpCode.CREATE2, create_body("/m/e", 1)),
        (CONTAINER, create_body("/m/c", 4)),
        (SET, set_body("/m")),
        (CHECK, delete_body("/m", 1)),
        (DELETE, delete_body("/m/c")),
    ),
    "multi-refused": multi((CREATE, create_body("/m2")), (CREATE, create_body("/m"))),
    "multi-check": multi((CHECK, delete_body("/m", 77)), (DELETE, delete_body("/m/e"))),
    "multi-only-check": multi((CHECK, delete_body("/m", 1))),
    "multi-empty": multi(),
    "multi-malformed": request(OpCode.MULTI, multi_body([(CREATE, create_body("/x")[:9])])),
    "reconfig": request(OpCode.RECONFIG, pack_ustring("x") * 3 + LONG.pack(-1)),
    "not-empty": request(DELETE, delete_body("/m")),
    "delete-bad-version": request(DELETE, delete_body("/two", 55)),
    "delete-missing": request(DELETE, delete_body("/missing")),
    "delete": request(DELETE, delete_body("/m/e")),
    "delete-root": request(DELETE, delete_body("/")),
    "sync": request(OpCode.SYNC, pack_ustring("/")),
    "read": request(OpCode.GET_DATA, pack_ustring("/two") + b"\0"),
    "bad-flags": request(CREATE, create_body("/bad-flags", 99)),
    "multi-sequence": multi((CREATE, create_body("/m/q-", 2)), (CREATE, create_body("/m/n"))),
    "multi-ttl": multi((TTL, create_body("/m/t", 5) + LONG.pack(100_000))),
}
NOT_IN_APACHE = {"bad-flags"}
"""Steps for which Apache ZooKeeper fails to write a record."""

NO_TYPE_IN_APACHE = {"multi-sequence": 0, "multi-ttl": 0}
"""Parts of multis whose type Apache ZooKeeper does not find: its path or its request differs."""


class Audited:
    """A server with an audit log."""

    def __init__(self, server: ExternalServer, path: Path) -> None:
        self.server = server
        self.path = path
        self.seen = 0

    def new(self, least: int = 0) -> list[dict[str, str]]:
        """Return the records since the last call, without ids of sessions, users in order."""
        wait_until(lambda: len(lines_of(self.path)) >= self.seen + least, "records")
        lines = lines_of(self.path)[self.seen :]
        self.seen += len(lines)
        found = [fields_of(line) for line in lines]
        for fields in found:
            fields["session"] = "a session" if "session" in fields else "none"
            fields["user"] = ",".join(sorted(fields["user"].split(",")))
        return found


@pytest.fixture(scope="module")
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Audited, Audited]]:
    jars = request.getfixturevalue("apache_jars")
    if jars == DEBIAN_JARS:
        pytest.skip(
            "Debian's folder has several loggers, none with a known order: make conformance"
        )
    directory = tmp_path_factory.mktemp("servers")
    log = directory / "audit.log"
    (directory / "1.properties").write_text(LOG4J1.replace("FILE", str(log)))
    (directory / "2.properties").write_text(LOG4J2.replace("FILE", str(log)))
    options = (
        "-Xmx512m",
        *QUICK_START,
        f"-Dlog4j.configuration=file:{directory}/1.properties",
        f"-Dlog4j2.configurationFile={directory}/2.properties",
    )
    with (
        ApacheServer(directory / "apache", jars, SETTINGS, options) as apache,
        ServerProcess(directory / "zoolet", SETTINGS) as zoolet,
    ):
        yield (
            Audited(apache, log),
            Audited(zoolet, directory / "zoolet" / "data" / "zookeeper_audit.log"),
        )


def test_each_request_has_the_same_records(both: tuple[Audited, Audited]) -> None:
    found: list[dict[str, list[dict[str, str]]]] = []
    for audited in both:
        audited.new()
        by_step = {}
        with RawClient(audited.server.port) as client:
            client.connect(timeout_ms=60_000)
            for name, step in STEPS.items():
                step(client)
                # The reply to this request comes after the records of the one before.
                client.request(OpCode.SYNC, pack_ustring("/"))
                by_step[name] = audited.new()
            client.send(OpCode.CLOSE_SESSION)
            assert client.read_reply().err == 0
            by_step["close"] = sorted(audited.new(2), key=lambda fields: fields["znode"])
        found.append(by_step)
    apache, zoolet = found
    for name, part in NO_TYPE_IN_APACHE.items():
        assert "znode_type" not in apache[name][part]
        assert zoolet[name][part].pop("znode_type").startswith("persistent")
    for name in NOT_IN_APACHE:
        assert apache.pop(name) == []
        (record,) = zoolet.pop(name)
        assert record["result"] == "failure"
    assert sum(map(len, apache.values())) > 50
    for name, records in apache.items():
        assert zoolet[name] == records, name


def test_an_expired_session(both: tuple[Audited, Audited]) -> None:
    found = []
    for audited in both:
        audited.new()
        with RawClient(audited.server.port) as client:
            client.connect(timeout_ms=1000)
            client.create("/expires", flags=1)
            found.append(audited.new(1))
            found[-1] += audited.new(1)
    assert found[0] == found[1]
    assert found[0][1]["operation"] == "ephemeralZNodeDeletionOnSessionCloseOrExpire"


def test_the_start_and_the_stop(both: tuple[Audited, Audited]) -> None:
    """The module's last test: Apache ZooKeeper's hook may end later than its logger."""
    for audited in both:
        audited.server.stop()
        records = [fields_of(line) for line in lines_of(audited.path)]
        starts = [fields for fields in records if fields["operation"] == "serverStart"]
        assert [list(fields.items())[1:] for fields in starts] == [
            [("operation", "serverStart"), ("result", "success")]
        ]
        stops = [fields for fields in records if fields["operation"] == "serverStop"]
        assert [fields["result"] for fields in stops] in ([], ["invoked"])
        if isinstance(audited.server, ServerProcess):
            assert len(stops) == 1
