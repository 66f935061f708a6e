"""Lines of cons, dump, wchc and wchs, as Apache ZooKeeper and zoolet write them."""

import pytest

from zoolet.client.connecting.answer_lines import (
    DumpLine,
    DumpReader,
    parse_connection,
    parse_wchs,
    session_id_of,
    watched,
)

CONS = (
    " /127.0.0.1:54774[1](queued=3,recved=5,sent=6,sid=0x10000ca027f0000,lop=GETD,est=1796026051724"
    ",to=10000,lcxid=0x4,lzxid=0x100000003,lresp=13239049,llat=1,minlat=2,avglat=9,maxlat=33)"
)
FOLLOWER = """SessionTracker dump:
Global Sessions(1):
0x10000ca027f0000\t10000ms
ephemeral nodes dump:
Sessions with Ephemerals (1):
0xf0000ca027f0000:
\t/e
\t/0x7:
Connections dump:
Connections Sets (1)/(2):
\tip: /127.0.0.1:54774 sessionId: 0x8""".splitlines()
LEADER = """SessionTracker dump:
Session Sets (1)/(1):
1 expire at Mon Nov 30 08:07:42 UTC 2026:
\t0x5
ephemeral nodes dump:""".splitlines()


def test_a_connection() -> None:
    found = parse_connection(CONS, "s")
    assert found is not None
    assert found.id == 0x10000CA027F0000
    assert (found.address, found.server) == ("127.0.0.1:54774", "s")
    assert (found.queued, found.received, found.sent, found.timeout_ms) == (3, 5, 6, 10000)
    assert (found.last_operation, found.last_zxid) == ("GETD", "0x100000003")
    assert found.latencies_ms == (1, 2, 9, 33)


def test_wrong_figures_are_not_shown() -> None:
    found = parse_connection(f" /a[1](recved=x,sid=0x1,to=-1,lop={'X' * 30})", "s")
    assert found is not None
    assert (found.received, found.timeout_ms, found.last_operation) == (0, 0, "")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "/[0]()",
        " [1](recved=1,sid=0x1)",
        " /1.2.3.4:5[1](queued=0,recved=1,sent=0)",
        " /a[1](sid=zz)",
        " /a[1](recved=1,sid=0x" + "1" * 30 + ")",
        " /" + "1" * 500 + "[1](recved=1,sid=0x1)",
        "(" * 10_000,
        "a[1](" * 10_000,
    ],
)
def test_lines_without_a_session(line: str) -> None:
    assert parse_connection(line, "s") is None


def test_a_dump_of_a_follower() -> None:
    assert list(DumpReader().read(FOLLOWER)) == [
        (DumpLine.SESSION, 0x10000CA027F0000, "10000"),
        (DumpLine.OWNER, 0xF0000CA027F0000, ""),
        (DumpLine.EPHEMERAL, 0, "/e"),
        (DumpLine.EPHEMERAL, 0, "/0x7:"),
    ]


def test_a_dump_of_a_leader_in_two_parts() -> None:
    reader = DumpReader()
    assert list(reader.read(LEADER[:2])) == []
    assert list(reader.read(LEADER[2:])) == [(DumpLine.SESSION, 5, "")]


def test_watches() -> None:
    assert watched("0x5") == (5, "")
    assert watched("\t/0x6") == (0, "/0x6")
    assert watched("") == (0, "")
    assert parse_wchs("2 connections watching 3 paths\nTotal watches:4\n") == (2, 3, 4)
    assert parse_wchs("nothing") is None


def test_ids() -> None:
    assert session_id_of("0xffffffffffffffff") == 2**64 - 1
    assert [session_id_of(text) for text in ("", "5", "0x", "0xg", "0x1 2", "0x" + "1" * 17)] == [
        0
    ] * 6
