"""The servers of a client: every spelling that is accepted, and what is said of the others."""

import random

import pytest

from zoolet.client.connecting.servers import parse_servers
from zoolet.model.addresses import Address, AddressError, format_address


@pytest.mark.parametrize(
    ("text", "hosts", "chroot"),
    [
        ("a:1", "a:1", ""),
        ("a", "a:2181", ""),
        ("a:1,b:2", "a:1,b:2", ""),
        (" a:1 , b:2 , ", "a:1,b:2", ""),
        (",a:1,,b:2,", "a:1,b:2", ""),
        ("a:1/app", "a:1", "/app"),
        ("a:1,b/app/one/", "a:1,b:2181", "/app/one"),
        ("a:1/", "a:1", ""),
        ("[::1]:2181/path", "[::1]:2181", "/path"),
        ("::1/path", "[::1]:2181", "/path"),
        ("::1, [fe80::2]:1", "[::1]:2181,[fe80::2]:1", ""),
    ],
)
def test_servers(text: str, hosts: str, chroot: str) -> None:
    servers = parse_servers(text)
    assert (servers.hosts, servers.chroot) == (hosts, chroot)
    assert parse_servers(str(servers)) == servers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no server"),
        (" , ,", "names no server"),
        ("/path", "names no server"),
        ("a:1,b:x", "'x' is not a port"),
        ("a:1 b:2", "is not an address"),
        ("a:1//x", "'//x' is not the path of a znode"),
        ("a:1/x/../y", "is not the path of a znode"),
        ("a:1;b:2", "is not an address"),
    ],
)
def test_what_are_not_servers(text: str, said: str) -> None:
    with pytest.raises(AddressError, match=said):
        parse_servers(text)


def test_random_lists_are_read_as_they_were_written() -> None:
    chance = random.Random(1618)
    hosts = ["localhost", "zk-1.example.org", "10.1.2.3", "::1", "fe80::1%eth0", "2001:db8::7"]
    for _ in range(500):
        wanted = [
            Address(
                chance.choice(hosts), chance.choice([2181, 1, 65535, chance.randrange(1, 65536)])
            )
            for _ in range(chance.randrange(1, 5))
        ]
        chroot = chance.choice(["", "/", "/a", "/a/b c", "/é/"])
        text = "".join(
            chance.choice(["", " ", ",", " , "])
            + spelled(chance, address)
            + chance.choice([",", " , "])
            for address in wanted
        )
        servers = parse_servers(text + chroot)
        assert servers.addresses == tuple(wanted), text
        assert servers.chroot == chroot.rstrip("/"), text


def spelled(chance: random.Random, address: Address) -> str:
    ways = [format_address(*address)]
    if address.port == 2181:
        ways += [address.host, f"[{address.host}]" if ":" in address.host else address.host]
    return chance.choice(ways)
