"""A test of a user, with the fixtures of zoolet; the scenario runs it with pytest."""

from typing import Any

import pytest
from kazoo.exceptions import ConnectionLoss

from zoolet.testing import OpCode


def test_a_create_whose_reply_is_lost(zookeeper: Any, zookeeper_client: Any) -> None:
    zookeeper.faults.on(OpCode.CREATE, "/jobs").drop_reply()
    with pytest.raises(ConnectionLoss):
        zookeeper_client.create("/jobs", b"data")
    zookeeper.inside.assert_path("/jobs", data=b"data")


def test_a_restart(zookeeper: Any, zookeeper_client: Any) -> None:
    zookeeper_client.create("/kept")
    zookeeper.restart()
    assert zookeeper_client.retry(zookeeper_client.exists, "/kept")
