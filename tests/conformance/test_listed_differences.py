"""Each difference that docs/compatibility.md lists is there, on both servers, and is that one.

The rows are read from the page. A row that nothing shows fails here; a difference without a row
fails in ``test_differential.py``.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests.conformance.test_differential import dialect_of, fresh_servers
from tests.support.differential.listed import (
    CONDITIONS,
    NOT_COMPARED,
    PAGE,
    Excuses,
    read_listed,
    read_not_compared,
)
from tests.support.differential.play import Difference, Event, first_difference
from tests.support.differential.step_types import RELEASE_3_9, Burst, Request, Step
from tests.support.rawclient import multi_body
from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.model.codes import ErrorCode, OpCode, Xid
from zoolet.wire.jute import INT, LONG, pack_acl, pack_buffer, pack_ustring, pack_ustrings

LISTED = read_listed(PAGE.read_text())

Asked = tuple[int, bytes]


class Scenario(NamedTuple):
    """Requests of one client, the last of which is answered otherwise; and the zoo.cfg."""

    requests: list[Asked]
    settings: Mapping[str, str] = MappingProxyType({})


def create(path: str, data: bytes = b"x", flags: int = 0, acl: AclList = OPEN_ACL) -> Asked:
    return OpCode.CREATE, pack_ustring(path) + pack_buffer(data) + pack_acl(acl) + INT.pack(flags)


def create_ttl(path: str, flags: int, ttl_ms: int) -> Asked:
    return OpCode.CREATE_TTL, create(path, flags=flags)[1] + LONG.pack(ttl_ms)


def set_data(path: str) -> Asked:
    return OpCode.SET_DATA, pack_ustring(path) + pack_buffer(b"new") + INT.pack(-1)


def multi_read(*paths: str) -> Asked:
    parts = [(int(OpCode.GET_DATA), pack_ustring(path) + b"\0") for path in paths]
    return OpCode.MULTI_READ, multi_body(parts)


def add_watch(path: str) -> Asked:
    return OpCode.ADD_WATCH, pack_ustring(path) + INT.pack(0)


def acl_of(count: int) -> AclList:
    return tuple(
        ACL(31, Id("ip", f"10.0.{number // 256}.{number % 256}")) for number in range(count)
    )


def auth(user: str) -> bytes:
    return INT.pack(0) + pack_ustring("digest") + pack_buffer(f"{user}:word".encode())


HIDDEN = (ACL(30, Id("world", "anyone")),)

QUOTA = "/zookeeper/quota/a"

SCENARIOS = {
    "delete-container": Scenario([create("/a"), (OpCode.DELETE_CONTAINER, pack_ustring("/a"))]),
    "ttl-flags": Scenario([create_ttl("/a", 0, -1)], {"extendedTypesEnabled": "true"}),
    "quota-of-the-root": Scenario([create("/zookeeper/quota/zookeeper_limits", b"count=1")]),
    "quota-text": Scenario(
        [create(QUOTA), create("/a"), create(f"{QUOTA}/zookeeper_limits", b"no"), create("/a/b")],
        {"enforceQuota": "true"},
    ),
    "multi-read-of-writes": Scenario(
        [
            (
                OpCode.MULTI_READ,
                multi_body([(int(OpCode.DELETE), pack_ustring("/a") + INT.pack(-1))]),
            )
        ]
    ),
    "multi-read-operations": Scenario([multi_read(*["/"] * 1000), multi_read(*["/"] * 1001)]),
    "multi-read-bytes": Scenario(
        [create("/a", bytes(500)), multi_read("/a", "/a"), multi_read("/a", "/a", "/a")],
        {"multiRead.maxResponseBytes": "1000"},
    ),
    "null-list-of-watches": Scenario(
        [
            create("/a"),
            (OpCode.SET_WATCHES, LONG.pack(0) + pack_ustrings(["/a"]) + INT.pack(-1) + INT.pack(0)),
        ]
    ),
    "set-watches-read": Scenario(
        [
            create("/a"),
            (OpCode.SET_ACL, pack_ustring("/a") + pack_acl(HIDDEN) + INT.pack(-1)),
            (OpCode.SET_WATCHES, LONG.pack(0) + pack_ustrings(["/a"]) + INT.pack(0) * 2),
        ]
    ),
    "acl-entries": Scenario([create("/a", acl=acl_of(1000)), create("/b", acl=acl_of(1001))]),
    "identities-of-a-connection": Scenario(
        [(OpCode.AUTH, auth("ann")), (OpCode.AUTH, auth("ann")), (OpCode.AUTH, auth("bob"))],
        {"zoolet.maxIdentitiesPerConnection": "1"},
    ),
    "beyond-the-plane": Scenario([(OpCode.SYNC, pack_ustring("/\U0001f600"))]),
    "ephemerals-of-a-session": Scenario(
        [create("/a", flags=1), create("/b", flags=1)], {"zoolet.maxEphemeralsPerSession": "1"}
    ),
    "watches-of-a-connection": Scenario(  # a persistent watch is one of data and one of children
        [add_watch("/a"), add_watch("/b")], {"zoolet.maxWatchesPerConnection": "2"}
    ),
}


def test_the_page_lists_what_the_comparison_excuses() -> None:
    assert set(LISTED) == set(CONDITIONS) == set(SCENARIOS)
    assert read_not_compared(PAGE.read_text()) == NOT_COMPARED


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_listed_difference_is_there(name: str, tmp_path: Path, apache_jars: Path) -> None:
    if dialect_of(apache_jars) != RELEASE_3_9:
        pytest.skip("needs Apache ZooKeeper 3.9: run make conformance")
    scenario = SCENARIOS[name]
    steps: list[Step] = [
        Burst(0, (Request(_xid(number, op_code), op_code, body),))
        for number, (op_code, body) in enumerate(scenario.requests, 1)
    ]
    servers = fresh_servers(tmp_path, apache_jars, dict(scenario.settings))
    difference = first_difference(servers, steps, RELEASE_3_9)
    assert difference is not None, "the servers answer the same: the row is not true"
    assert difference.number == len(steps) - 1, str(difference)
    excuses = Excuses(LISTED)
    assert excuses.cover(difference), str(difference)
    assert dict(excuses.used) == {name: 1}


def _xid(number: int, op_code: int) -> int:
    if op_code == OpCode.AUTH:
        return Xid.AUTH
    return Xid.SET_WATCHES if op_code == OpCode.SET_WATCHES else number


# --- What the list does not excuse

OK, BAD_ARGUMENTS = ErrorCode.OK, ErrorCode.BAD_ARGUMENTS
AN_EVENT = Event(1, 0, ("event", 1, 3, b"/a"))


def seen(asked: Asked, apache: list[object], zoolet: list[object], client: int = 0) -> Difference:
    return Difference(0, Burst(client, (Request(1, *asked),)), apache, zoolet)


def replied(err: int, body: object = (), zxid: int = 1) -> tuple[object, ...]:
    return (1, zxid, err, body)


@pytest.mark.parametrize(
    "difference",
    [
        seen(multi_read("/a"), [replied(OK)], [replied(BAD_ARGUMENTS)]),
        seen(multi_read(*["/a"] * 1001), [replied(BAD_ARGUMENTS)], [replied(OK)]),
        seen(multi_read(*["/a"] * 1001), [replied(OK)], ["closed"]),
        seen(multi_read(*["/a"] * 1001), [replied(OK)], [replied(OK, zxid=2)]),
        seen(create("/a"), [replied(OK)], [replied(BAD_ARGUMENTS)]),
        seen(create("/a"), [AN_EVENT, replied(OK)], [replied(OK)]),
        seen(add_watch("/a"), [replied(OK)], [AN_EVENT, replied(OK)]),
        seen((OpCode.SYNC, pack_ustring("/a")), [replied(OK, b"/a")], [replied(OK, b"/b")]),
        seen(create("/a"), [("connected", 1), replied(OK)], ["refused"]),
    ],
)
def test_any_other_difference_is_none_of_the_listed(difference: Difference) -> None:
    excuses = Excuses(LISTED)
    assert not excuses.cover(difference)
    assert not excuses.used


def test_a_row_without_a_reason_excuses_nothing() -> None:
    page = PAGE.read_text()
    reason = "| same as Apache 3.9.7 (CVE-2026-100302) |"
    assert set(LISTED) - set(read_listed(page.replace(reason, "| |"))) == {
        "multi-read-operations",
        "multi-read-bytes",
    }
