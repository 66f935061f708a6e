"""Addresses and networks under the scheme ip, as Apache ZooKeeper 3.9.5 reads them."""

import pytest

from zoolet.model.acl import ACL, Id
from zoolet.state_machine.acl_table import StoredAcl
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.networks import (
    Address,
    Network,
    client_address,
    parse_address,
    parse_network,
)

LOOPBACK6 = Address(128, 1)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("1.2.3.4", Network(32, 32, 0x01020304)),
        ("1.2.3.4/8", Network(32, 8, 1)),
        ("1.2.3.4/0", Network(32, 0, 0)),
        ("+1.002.-0.4/+8", Network(32, 8, 1)),  # what Java's parseInt takes
        ("::1", Network(128, 128, 1)),
        ("::", Network(128, 128, 0)),
        ("::/0", Network(128, 0, 0)),
        ("0:0:0:0:0:0:0:1", Network(128, 128, 1)),
        ("2001:DB8::/32", Network(128, 32, 0x20010DB8)),
        ("2001:db8:0:0:0:0:0:1/64", Network(128, 64, 0x20010DB8 << 32)),
        ("1::", Network(128, 128, 1 << 112)),
        ("::+f", Network(128, 128, 15)),  # also what parseInt takes, radix 16
        ("::-1", Network(128, 128, 0xFFFF)),
    ],
)
def test_networks(text: str, network: Network) -> None:
    assert parse_network(text) == network


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3",
        "1.2.3.4.",
        "1.2.3.4.5",
        "256.0.0.0",
        "1.2.3.-4",
        "1.2.3.4/",
        "1.2.3.4/33",
        "1.2.3.4/-1",
        "1.2.3.4/8/8",
        "1.2.3.4/99999999999",
        "1. 2.3.4",
        "localhost",
        ":",
        ":::",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4::5:6:7:8",
        "::12345",
        "::g",
        "::1_0",
        "::/129",
        "::/x",
        "::ffff:1.2.3.4",
        "fe80::1%eth0",
        "[::1]",
    ],
)
def test_what_is_no_network(text: str) -> None:
    assert parse_network(text) is None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("2001:db8::a:0:b", "2001:db8:0:0:0:a:0:b"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::ffff:a01:203", "10.1.2.3"),
        ("fe80::1%eth0", "fe80:0:0:0:0:0:0:1"),
        ("fe80::1%2", "fe80:0:0:0:0:0:0:1"),
        ("", ""),
    ],
)
def test_a_client_s_address_is_what_java_calls_it(host: str, address: str) -> None:
    assert client_address(host) == address
    assert address == "" or parse_address(address) is not None


@pytest.mark.parametrize(
    ("entry", "host", "is_allowed"),
    [
        ("::1", "::1", True),
        ("2001:db8::/32", "2001:db8:ffff::9", True),
        ("2001:db8::/32", "2001:db9::9", False),
        ("2001:db8::/33", "2001:db8:8000::", False),
        ("::/0", "fe80::1%eth0", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("::ffff:a01:203", "::ffff:10.1.2.3", False),  # it is an IPv4 client
        ("0.0.0.0/0", "::1", False),
        ("::/0", "127.0.0.1", False),
        ("::1", "0.0.0.1", False),
    ],
)
def test_an_address_matches_networks_of_its_kind(entry: str, host: str, is_allowed: bool) -> None:
    acl = StoredAcl((ACL(1, Id("ip", entry)),))
    assert acl.allows(Identities([Id("ip", client_address(host))]), 1) is is_allowed
