"""Members as a user writes them on the command line, and as zoo.cfg has them."""

import random

import pytest

from zoolet.ensemble.errors import EnsembleError
from zoolet.ensemble.members import Member, check_members, majority_of, parse_member

HOSTS = ["zk1.example.org", "10.0.0.1", "fe80::1", "::1", "localhost"]


@pytest.mark.parametrize(
    ("text", "member", "value"),
    [
        ("1=zk1:2888:3888;2181", Member(1, "zk1", 2888, 3888, False, None, 2181), None),
        ("server.7=zk1:2888:3888", Member(7, "zk1", 2888, 3888, False, None, None), None),
        (
            " 2 = [::1]:2888:3888:OBSERVER ; [::]:2181",
            Member(2, "::1", 2888, 3888, True, None, 2181),
            "[::1]:2888:3888:observer;2181",
        ),
        (
            "3=zk3:2888:3888:participant;0.0.0.0:2181",
            Member(3, "zk3", 2888, 3888, False, None, 2181),
            "zk3:2888:3888;2181",
        ),
        ("254=a:1:2;10.0.0.1:3", Member(254, "a", 1, 2, False, "10.0.0.1", 3), None),
    ],
)
def test_a_member_is_parsed(text: str, member: Member, value: str | None) -> None:
    assert parse_member(text) == member
    assert member.value == (value or text.partition("=")[2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zk1:2888:3888;2181", "is not a member: write ID=HOST:PORT:PORT;CLIENTPORT"),
        ("0=zk1:2888:3888;2181", "write a number from 1 to 254"),
        ("255=zk1:2888:3888;2181", "write a number from 1 to 254"),
        ("٣=zk1:2888:3888;2181", "write a number from 1 to 254"),
        ("99999=zk1:2888:3888;2181", "write a number from 1 to 254"),
        ("1=zk1:2888;2181", "write ID=HOST:PORT:PORT;CLIENTPORT"),
        ("1=zk1:2888:3888:leader;2181", "write ID=HOST:PORT:PORT;CLIENTPORT"),
        ("1=zk1:2888:3888:observer:1;2181", "write ID=HOST:PORT:PORT;CLIENTPORT"),
        ("1=zk1:2888:70000;2181", "'70000' is not a port"),
        ("1=zk1:2888:3888;", "'' has no port"),
        ("1=zk1:2888:3888;zk1", "'zk1' has no port"),
        ("1=:2888:3888;2181", "'' is not a host name"),
        ("1=::1:2888:3888;2181", "is not a host name"),
        ("1=a:1:2|b:1:2;2181", "several addresses of one member are not supported"),
    ],
)
def test_a_malformed_member_is_refused(text: str, message: str) -> None:
    with pytest.raises(EnsembleError, match=message.replace("(", r"\(")) as raised:
        parse_member(text)
    assert str(raised.value).endswith(".")


def test_every_member_is_read_as_it_is_written() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        ports = [chance.randint(1, 65535) for _ in range(3)]
        has_client = chance.random() < 0.7
        member = Member(
            chance.randint(1, 254),
            chance.choice(HOSTS),
            ports[0],
            ports[1],
            chance.random() < 0.3,
            chance.choice([None, *HOSTS]) if has_client else None,
            ports[2] if has_client else None,
        )
        assert parse_member(f"{member.number}={member.value}") == member, seed
        with pytest.raises(EnsembleError):
            parse_member(f"{member.number}={member.value}"[: chance.randrange(5)])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["1=a:1:2;3", "1=b:1:2;3"], "two members have the number 1"),
        (["1=a:1:1;3", "2=b:1:2;3"], "quorum port of member 1 and the election port of member 1"),
        (["1=a:1:2;3", "2=a:4:5;2"], "election port of member 1 and the client port of member 2"),
        (["1=a:1:2;3"], "1 of the members have a vote"),
        (["1=a:1:2;3", "2=b:1:2:observer;3", "3=c:1:2:observer;3"], "1 of the members have a vote"),
    ],
)
def test_members_that_exclude_each_other_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(EnsembleError, match=message):
        check_members([parse_member(text) for text in texts])


def test_a_majority_is_more_than_half() -> None:
    assert [majority_of(participants) for participants in range(1, 8)] == [1, 2, 2, 3, 3, 4, 4]
