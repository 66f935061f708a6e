"""Answers to srvr and mntr, and the members of a configuration."""

from zoolet.model.addresses import Address
from zoolet.web.servers.figures import merged, parse_mntr, parse_srvr
from zoolet.web.servers.members import Member, all_addresses, members_of

SRVR = """Zookeeper version: 3.9.5-x, built on y
Latency min/avg/max: 1/9.5/33
Received: 13
Connections: 2
Zxid: 0x100000003
Mode: follower
Node count: 7
"""
MNTR = "zk_version\t3.9\nzk_server_state\tleader\nzk_znode_count\t8\nzk_watch_count\t4\nzk_x\t1\n"


def test_srvr_and_mntr() -> None:
    found = parse_srvr(SRVR)
    assert (found.mode, found.version, found.zxid) == (
        "follower",
        "3.9.5-x, built on y",
        0x100000003,
    )
    assert found.figures["avg_latency"] == 9.5
    both = merged(found, parse_mntr(MNTR))
    assert both.mode == "follower"
    assert (both.figures["znodes"], both.figures["watches"]) == (7, 4)


def test_bad_numbers_are_left_out() -> None:
    found = parse_srvr("Received: nan\nSent: inf\nZxid: x\nLatency min/avg/max: a/b/1\n")
    assert found.zxid is None
    assert found.figures == {"max_latency": 1.0}


def test_members() -> None:
    data = (
        b"server.1=a:2888:3888:participant;2181\nserver.2=b:2888:3888:observer;c:2182\n"
        b"server.3=[::1]:2888:3888\nversion=100000000"
    )
    found = members_of(data)
    assert found == [
        Member(1, "participant", "a:2888", Address("a", 2181)),
        Member(2, "observer", "b:2888", Address("c", 2182)),
        Member(3, "participant", "[::1]:2888", None),
    ]
    hosts = (Address("x", 1), Address("a", 2181))
    assert all_addresses(hosts, found) == [*hosts, Address("c", 2182)]


def test_data_that_are_no_configuration() -> None:
    assert members_of(None) == []
    assert members_of(b"server.x=\xff") == []
