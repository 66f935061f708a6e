"""The lines of the audit log: no text of a client adds a field, a user or a line."""

import json
import random

import pytest

from tests.support.audit import KEYS, fields_of, unescaped
from zoolet.model.acl import ACL, NULL_TEXT, Id
from zoolet.model.codes import ErrorCode
from zoolet.server.audit.formats import ApacheFormat, JsonFormat
from zoolet.server.audit.records import (
    CREATE,
    DELETE,
    FAILURE,
    INVOKED,
    SET_ACL,
    STOP,
    SUCCESS,
    AuditRecord,
)
from zoolet.state_machine.identities import Identities

BOB = Identities([Id("ip", "10.1.2.3"), Id("digest", "bob:hash"), Id("super", "")])
HOSTILE = [
    "\n",
    "\r\n",
    "\t",
    "\tresult=success",
    "\n2026-01-01 00:00:00,000 INFO audit.Slf4jAuditLogger: user=root\toperation=delete",
    "\x00",
    "\x0b\x0c\x1c\x1d\x1e",
    "\x1b[31m",
    "\x7f\x85\x9b",
    "\u2028\u2029",
    "\u202e\u2066",
    "\\n",
    "\\\\x0a\\",
    "=",
    "a=b",
    ",admin",
    "\udfff",
    "\U0001f600",
    " ",
    '"',
]


def record(**values: object) -> AuditRecord:
    made = AuditRecord(1_796_013_701_007, CREATE, SUCCESS, 0, 0x1234, BOB, "10.1.2.3", "/a")
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_the_fields_of_apaches_format_and_their_order() -> None:
    made = record(
        znode_type="ephemeral", acl=(ACL(31, Id("world", "anyone")), ACL(1, Id("x", "y")))
    )
    line = ApacheFormat("root").line(made)
    _, _, rest = line.partition("audit.Slf4jAuditLogger: ")
    assert rest == (
        "session=0x1234\tuser=10.1.2.3,bob\tip=10.1.2.3\toperation=create\tznode=/a"
        "\tznode_type=ephemeral\tacl=world:anyone:cdrwax:y:r\tresult=success\n"
    )
    assert list(fields_of(line[:-1])) == list(KEYS)


def test_a_record_of_the_server_itself_has_few_fields() -> None:
    stop = AuditRecord(1_796_013_701_007, STOP, INVOKED)
    assert fields_of(ApacheFormat("zk,1").line(stop)[:-1]) == {
        "user": "zk\\x2c1",
        "operation": "serverStop",
        "result": "invoked",
    }
    assert json.loads(JsonFormat("zk").line(stop)) == {
        "time": "2026-11-30T04:41:41.007Z",
        "user": "zk",
        "operation": "serverStop",
        "result": "invoked",
    }


def test_json() -> None:
    made = record(
        operation=SET_ACL, result=FAILURE, err=ErrorCode.NO_AUTH, acl=(ACL(5, Id("ip", "::1")),)
    )
    assert json.loads(JsonFormat("root").line(made)) == {
        "time": "2026-11-30T04:41:41.007Z",
        "session": "0x1234",
        "users": [{"scheme": "ip", "name": "10.1.2.3"}, {"scheme": "digest", "name": "bob"}],
        "ip": "10.1.2.3",
        "operation": "setAcl",
        "znode": "/a",
        "acl": [{"scheme": "ip", "id": "::1", "permissions": "cr"}],
        "result": "failure",
        "error": "NO_AUTH",
    }
    made.err = -9999
    assert json.loads(JsonFormat("root").line(made))["error"] == "-9999"


def test_a_null_path_is_left_out_and_an_empty_path_is_not() -> None:
    for form in (ApacheFormat("x"), JsonFormat("x")):
        assert "znode" not in form.line(record(znode=NULL_TEXT))
        assert "znode" not in form.line(record(znode=None))
    assert fields_of(ApacheFormat("x").line(record(znode=""))[:-1])["znode"] == ""


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text(text: str) -> None:
    check_hostile(text, text, text)


def check_hostile(path: str, user: str, name: str) -> None:
    identities = Identities([Id("digest", f"{user}:h"), Id("sasl", user), Id("x509", name)])
    made = record(
        znode=path, identities=identities, operation=DELETE, acl=(ACL(31, Id("digest", name)),)
    )
    line = ApacheFormat("root").line(made).encode("utf-8", "backslashreplace").decode()
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    fields = fields_of(line[:-1])
    assert unescaped(fields["znode"]) == path
    assert unescaped(fields["acl"]) == f"digest:{name}:cdrwa"
    users = [each for each in (user.partition(":")[0], user, name) if each.strip()]
    assert unescaped(fields.get("user", "")) == ",".join(users)
    shown = json.loads(JsonFormat("root").line(made))
    assert (shown["znode"], [each["name"] for each in shown["users"]]) == (path, users)


def test_commas_of_names_are_not_between_users() -> None:
    identities = Identities([Id("digest", "bob,admin:h"), Id("x509", "CN=a,O=b")])
    fields = fields_of(ApacheFormat("root").line(record(identities=identities))[:-1])
    assert fields["user"] == "bob\\x2cadmin,CN=a,O=b"


@pytest.mark.parametrize("seed", range(20))
def test_random_hostile_text(seed: int) -> None:
    chance = random.Random(seed)

    def text() -> str:
        pieces = [*HOSTILE, *(chr(chance.randrange(0xD800)) for _ in range(20)), "name"]
        return "".join(chance.choices(pieces, k=chance.randrange(6)))

    for _ in range(50):
        check_hostile(text(), text(), text())
