"""Addresses: every spelling that is accepted, and what is said of the others."""

import pytest

from zoolet.model.addresses import AddressError, parse_address, parse_host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost", "localhost"),
        (" zk1.example.org ", "zk1.example.org"),
        ("10.0.0.1", "10.0.0.1"),
        ("::", "::"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[fe80::1%eth0]", "fe80::1%eth0"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
    ],
)
def test_a_host(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text", ["", " ", "[::1", "[::1]x", "[localhost]", "a b", "a:b", "a/b", "]"]
)
def test_what_is_not_a_host(text: str) -> None:
    with pytest.raises(AddressError, match="is not"):
        parse_host(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:2182", ("localhost", 2182)),
        ("localhost", ("localhost", 2181)),
        (" 10.0.0.1:1 ", ("10.0.0.1", 1)),
        ("[::1]:2182", ("::1", 2182)),
        ("[::1]", ("::1", 2181)),
        ("::1", ("::1", 2181)),
        ("::", ("::", 2181)),
        ("2001:db8::2:2181", ("2001:db8::2:2181", 2181)),
        ("[2001:db8::2]:65535", ("2001:db8::2", 65535)),
    ],
)
def test_an_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a host name"),
        (":2181", "is not a host name"),
        ("a:", "has no port after the colon"),
        ("[::1]:", "has no port after the colon"),
        ("[::1]2181", r"write \[HOST\]:PORT"),
        ("a:b:1", r"an IPv6 address as \[::1\]:PORT"),
        ("a:0", "write a number from 1 to 65535"),
        ("a:65536", "write a number from 1 to 65535"),
        ("a:2181x", "'2181x' is not a port"),
        ("a:-1", "'-1' is not a port"),
        ("a:२", "is not a port"),
    ],
)
def test_what_is_not_an_address(text: str, said: str) -> None:
    with pytest.raises(AddressError, match=said):
        parse_address(text)


def test_an_address_without_a_port_may_need_one() -> None:
    with pytest.raises(AddressError, match="'a' has no port: write HOST:PORT"):
        parse_address("a", None)
