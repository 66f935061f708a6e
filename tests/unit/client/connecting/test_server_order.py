"""The order in which a client tries its servers, and the pauses between the tries."""

import random
from collections import Counter

import pytest

from zoolet.client.connecting.server_order import FIRST_PAUSE_S, LONGEST_PAUSE_S, ServerOrder
from zoolet.client.connecting.servers import parse_servers

THREE = parse_servers("a:1,b:2,c:3/app")


def order(hosts: str = "a:1,b:2,c:3", seed: int = 0) -> ServerOrder:
    return ServerOrder(parse_servers(hosts), random.Random(seed))


@pytest.mark.parametrize("seed", range(5))
def test_each_round_has_each_server_once(seed: int) -> None:
    servers = order(seed=seed)
    for _ in range(20):
        assert {servers.next() for _ in range(3)} == set(THREE.addresses)


def test_clients_begin_with_different_servers() -> None:
    first = Counter(order(seed=seed).next() for seed in range(300))
    assert set(first) == set(THREE.addresses)
    assert min(first.values()) > 50


def test_a_pause_only_after_a_round() -> None:
    servers = order()
    for _ in range(10):
        pauses = []
        for _ in range(3):
            servers.next()
            pauses.append(servers.pause_s())
        assert pauses[:2] == [0.0, 0.0]
        assert pauses[2] > 0


def test_the_pauses_double_up_to_a_limit() -> None:
    servers = order("a:1")
    longest_s = FIRST_PAUSE_S
    for _ in range(20):
        servers.next()
        assert longest_s / 2 <= servers.pause_s() <= longest_s
        longest_s = min(LONGEST_PAUSE_S, 2 * longest_s)
    assert longest_s == LONGEST_PAUSE_S


def test_a_client_that_fails_for_hours_still_pauses() -> None:
    servers = order("a:1")
    for _ in range(5000):
        servers.next()
        assert servers.pause_s() <= LONGEST_PAUSE_S
    assert servers.pause_s() >= LONGEST_PAUSE_S / 2


def test_the_pauses_of_clients_differ() -> None:
    pauses = set()
    for seed in range(50):
        servers = order("a:1", seed)
        servers.next()
        pauses.add(servers.pause_s())
    assert len(pauses) == 50


def test_a_success_begins_again() -> None:
    servers = order("a:1")
    for _ in range(10):
        servers.next()
        servers.pause_s()
    assert servers.was_useful(0.0, has_replied=True)
    servers.next()
    assert servers.pause_s() <= FIRST_PAUSE_S
    three = order()
    three.next()
    assert three.was_useful(LONGEST_PAUSE_S, has_replied=False)
    assert {three.next() for _ in range(3)} == set(THREE.addresses)


def test_a_server_that_closes_each_connection_is_no_success() -> None:
    servers = order("a:1")
    longest_s = FIRST_PAUSE_S
    for _ in range(10):
        servers.next()
        assert not servers.was_useful(LONGEST_PAUSE_S - 0.1, has_replied=False)
        assert longest_s / 2 <= servers.pause_s() <= longest_s
        longest_s = min(LONGEST_PAUSE_S, 2 * longest_s)


def test_the_preferred_server_is_the_next_one() -> None:
    servers = order()
    first, second = servers.next(), servers.next()
    servers.prefer(first)
    assert servers.was_useful(0.0, has_replied=True)
    assert servers.next() == first
    assert {servers.next() for _ in range(3)} == set(THREE.addresses)
    servers.prefer(second)
    servers.change(parse_servers("d:4"))
    assert servers.next() == parse_servers("d:4").addresses[0]


def test_other_servers() -> None:
    servers = order()
    servers.next()
    other = parse_servers("d:4,e:5")
    servers.change(other)
    assert servers.servers is other
    assert {servers.next() for _ in range(2)} == set(other.addresses)
    assert 0 < servers.pause_s() <= FIRST_PAUSE_S
