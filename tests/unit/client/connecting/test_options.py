"""The options of both clients."""

import pytest

from zoolet.client.connecting.options import ClientOptions, try_limit_s


@pytest.mark.parametrize(
    ("connect_timeout_s", "session_timeout_ms", "num_servers", "expected_s"),
    [
        (6.0, 30_000, 3, 2.0),
        (60.0, 9000, 3, 2.0),
        (60.0, 9000, 1, 6.0),
        (10.0, 1, 3, 0.1),
        (0.05, 1, 1, 0.05),
    ],
)
def test_each_server_gets_its_part_of_the_time(
    connect_timeout_s: float, session_timeout_ms: int, num_servers: int, expected_s: float
) -> None:
    options = ClientOptions(connect_timeout_s=connect_timeout_s)
    found_s = try_limit_s(options, session_timeout_ms, num_servers)
    assert found_s == pytest.approx(expected_s)
