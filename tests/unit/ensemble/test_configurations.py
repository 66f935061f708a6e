"""The zoo.cfg of a member from that of a server, and in the other direction."""

from pathlib import Path

import pytest

from tests.support.stopped_server import MEMBERS, members_of
from zoolet.ensemble.configurations import (
    Needs,
    Places,
    java_env,
    java_options,
    member_config,
    notes_on_members,
    options_in,
    standalone_config,
)
from zoolet.server.zoo_cfg.properties import Property, parse_properties
from zoolet.server.zoo_cfg.reading import parse_config

PLACES = Places(Path("/new/data"), None)
NO_NEEDS = Needs(False, 100)
SMALL = 0xFFFFF


def properties(*lines: str) -> list[Property]:
    return list(parse_properties("\n".join(("dataDir=/old", "clientPort=2181", *lines))))


def of_member(*lines: str, needs: Needs = NO_NEEDS, number: int = 1) -> dict[str, str]:
    members = members_of([*MEMBERS[:2], "3=zk3:2888:3888:observer;2181"])
    text = member_config(properties(*lines), members, members[number - 1], PLACES, needs)
    return {key: value for key, value, _ in parse_properties(text)}


def test_settings_of_the_server_are_kept_in_their_order() -> None:
    found = of_member("tickTime=500", "maxClientCnxns=7", "initLimit=99", "unknown=1")
    assert list(found.items()) == [
        ("dataDir", "/new/data"),
        ("tickTime", "500"),
        ("maxClientCnxns", "7"),
        ("initLimit", "99"),
        ("unknown", "1"),
        ("syncLimit", "5"),
        ("db.autocreate", "false"),
        ("server.1", "zk1:2888:3888;2181"),
        ("server.2", "zk2:2888:3888;2181"),
        ("server.3", "zk3:2888:3888:observer;2181"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "dataLogDir=/x",
        "clientPortAddress=127.0.0.1",
        "server.1=a:1:2;2181",
        "group.1=1:2",
        "weight.1=1",
        "dynamicConfigFile=/x",
        "peerType=participant",
        "standaloneEnabled=true",
        "zoolet.sessionSecret=0123456789abcdef",
        "zoolet.maxPathLength=100",
    ],
)
def test_settings_that_a_member_must_not_have(line: str) -> None:
    assert of_member(line) == of_member()


def test_an_observer_may_be_zoolet() -> None:
    found = of_member("zoolet.maxPathLength=100", "zoolet.sessionSecret=0123456789abcdef", number=3)
    assert found["peerType"] == "observer"
    assert found["zoolet.maxPathLength"] == "100"
    assert not {"zoolet.sessionSecret", "db.autocreate"} & found.keys()


def test_a_secure_port_needs_netty() -> None:
    found = of_member("secureClientPort=2281")
    assert found["serverCnxnFactory"] == "org.apache.zookeeper.server.NettyServerCnxnFactory"


def test_ttl_znodes_need_a_setting() -> None:
    found = of_member("extendedTypesEnabled=false", needs=Needs(True, 100))
    assert found["extendedTypesEnabled"] == "true"


@pytest.mark.parametrize(
    ("lines", "largest_bytes", "options"),
    [
        ((), 100, {}),
        ((), 2 * SMALL, {}),
        ((), 2 * SMALL + 1, {"jute.maxbuffer": SMALL + 1}),
        (("jute.maxbuffer=0x400000",), 100, {"jute.maxbuffer": 0x400000}),
        (("jute.maxbuffer=4194304",), 10_000_000, {"jute.maxbuffer": 5_000_000}),
        (("jute.maxbuffer=many",), 100, {}),
        (("znode.container.checkIntervalMs=100",), 1, {"znode.container.checkIntervalMs": 100}),
    ],
)
def test_properties_of_java(
    lines: tuple[str, ...], largest_bytes: int, options: dict[str, int]
) -> None:
    assert java_options(properties(*lines), Needs(False, largest_bytes)) == options
    assert options_in(java_env(options)) == options


@pytest.mark.parametrize(
    ("lines", "members", "note"),
    [
        (("clientPortAddress=127.0.0.1",), MEMBERS, "clientPortAddress=127.0.0.1 is left out"),
        (("zoolet.sessionSecret=x",), MEMBERS, "no client can resume its session"),
        (("secureClientPort=1",), MEMBERS, "netty's jars"),
        (("group.1=1:2", "weight.1=1"), MEMBERS, "group.1, weight.1 are left out"),
        (
            ("admin.serverPort=8080",),
            ("1=a:1:2;3", "2=a:4:5;6"),
            "need different values of admin.serverPort",
        ),
    ],
)
def test_the_user_is_told(lines: tuple[str, ...], members: tuple[str, ...], note: str) -> None:
    assert list(notes_on_members(properties(), members_of(members))) == []
    (found,) = notes_on_members(properties(*lines), members_of(members))
    assert note in found


def test_the_way_back_gives_a_standalone_server() -> None:
    lines = ("tickTime=500", "jute.maxbuffer=4194304", "reconfigEnabled=true")
    member = member_config(properties(*lines), members_of(), members_of()[0], PLACES, NO_NEEDS)
    text = standalone_config(
        list(parse_properties(member)),
        ("10.0.0.1", 2182),
        Places(Path("/back/data"), Path("/back/log")),
        {"jute.maxbuffer": 5_000_000},
    )
    config = parse_config(text, Path("zoo.cfg"))
    assert config.warnings == ()
    assert (config.client_address, config.client_port) == ("10.0.0.1", 2182)
    assert (config.data_dir, config.data_log_dir) == (Path("/back/data"), Path("/back/log"))
    assert (config.tick_time_ms, config.max_frame_bytes) == (500, 5_000_000)
