"""The configuration of an ensemble as text."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.model.ensemble import EnsembleMember, QuorumAddress
from zoolet.wire.ensemble_config import decode_config, decode_member
from zoolet.wire.jute import MalformedError

MAJORITY = (
    b"server.1=127.0.0.1:2888:3888:participant;127.0.0.1:2181\n"
    b"server.2=[::1]:2888:3888:participant\n"
    b"server.9=zk.example:2888:3888:observer;0.0.0.0:2181\n"
    b"version=10000000a"
)


def test_a_configuration_of_apache_is_read() -> None:
    config = decode_config(MAJORITY)
    assert config.members == {
        1: EnsembleMember(1, (QuorumAddress("127.0.0.1", 2888, 3888),), True, "127.0.0.1:2181"),
        2: EnsembleMember(2, (QuorumAddress("::1", 2888, 3888),), True, ""),
        9: EnsembleMember(9, (QuorumAddress("zk.example", 2888, 3888),), False, "0.0.0.0:2181"),
    }
    assert config.version == 0x10000000A
    assert not config.is_hierarchical
    assert config.participants() == [1, 2]
    assert config.members[2].addresses[0].quorum == "[::1]:2888"


def test_a_hierarchical_configuration_is_read() -> None:
    """The keys are those of ``QuorumHierarchical.toString``."""
    config = decode_config(
        b"server.1=a:1:2:participant;0.0.0.0:3\ngroup.1=1\nweight.1=1\nversion=0"
    )
    assert config.is_hierarchical
    assert config.participants() == [1]


@pytest.mark.parametrize(
    ("text", "member"),
    [
        ("a:1:2", EnsembleMember(3, (QuorumAddress("a", 1, 2),), True, "")),
        ("a:1:2;4", EnsembleMember(3, (QuorumAddress("a", 1, 2),), True, "0.0.0.0:4")),
        ("a:1:2:OBSERVER", EnsembleMember(3, (QuorumAddress("a", 1, 2),), False, "")),
        (
            "a:1:2|[fe80::1]:3:4;[::]:5",
            EnsembleMember(
                3, (QuorumAddress("a", 1, 2), QuorumAddress("fe80::1", 3, 4)), True, "[::]:5"
            ),
        ),
    ],
)
def test_a_member_is_read(text: str, member: EnsembleMember) -> None:
    assert decode_member(3, text) == member


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a:1", "a:1:x", "a:1:2:voter", "a:1:2:3:4", "a:1:99999", "a:1:2;x", "a:1:2;h:x"),
        *("a:1:2:observer|b:1:2:participant", "a b:1:2"),
    ],
)
def test_a_wrong_member_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        decode_member(3, text)


@pytest.mark.parametrize("line", [b"server.x=a:1:2", b"server=a:1:2", b"version=x"])
def test_a_wrong_line_is_refused(line: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_config(line)


PARTS = st.sampled_from(
    [b"server.", b"1", b"=", b"a:", b"2", b":", b";", b"|", b"[", b"]", b"observer", b"\n", b"\xff"]
)


@given(st.binary(max_size=60) | st.lists(PARTS, max_size=20).map(b"".join))
def test_any_bytes_are_a_configuration_or_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        decode_config(data)
