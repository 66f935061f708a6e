"""The audit log of an observer: its own clients, whose writes the leader decides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError

from tests.support.audit import records_of
from tests.support.ensemble import ApacheEnsemble, new_observer
from tests.support.waiting import wait_until
from zoolet.testing import ServerProcess

SETTINGS = {"audit.enable": "true", "zoolet.audit.onFailure": "stop"}


@pytest.fixture(scope="module")
def ensemble(
    tmp_path_factory: pytest.TempPathFactory, apache_jars: Path
) -> Iterator[ApacheEnsemble]:
    directory = tmp_path_factory.mktemp("ensemble")
    with ApacheEnsemble(directory, apache_jars, 128, {"reconfigEnabled": "true"}) as running:
        yield running


@pytest.fixture
def observer(tmp_path: Path, ensemble: ApacheEnsemble) -> Iterator[ServerProcess]:
    with new_observer(tmp_path / "observer", ensemble, 101, SETTINGS) as running:
        yield running
    assert "Traceback" not in running.log


def shown(observer: ServerProcess, session_id: int) -> list[tuple[str, ...]]:
    """Return the records of a session; those of the observer itself have no address."""
    keys = ("user", "operation", "znode", "znode_type", "result")
    return [
        tuple(each[key] for key in keys if key in each and (key != "user" or "ip" in each))
        for each in records_of(observer.directory / "data" / "zookeeper_audit.log")
        if each.get("session") == f"0x{session_id:x}"
    ]


def test_forwarded_writes(observer: ServerProcess) -> None:
    client: Any = observer.client(timeout=20.0)
    client.start(timeout=20)
    client.add_auth("digest", "bob:secret")
    client.create("/e-", ephemeral=True, sequence=True)
    with pytest.raises(NodeExistsError):
        client.create("/zookeeper")
    batch = client.transaction()
    batch.create("/m")
    batch.set_data("/m", b"x")
    batch.commit()
    batch = client.transaction()
    batch.create("/m")
    batch.commit()
    client.set_acls("/m", client.get_acls("/m")[0])
    session_id = client.client_id[0]
    client.stop()
    client.close()
    user = "127.0.0.1,bob"
    wait_until(lambda: len(shown(observer, session_id)) == 7, "the records")
    assert shown(observer, session_id) == [
        (user, "create", "/e-0000000000", "ephemeral_sequential", "success"),
        (user, "create", "/zookeeper", "persistent", "failure"),
        (user, "create", "/m", "persistent", "success"),
        (user, "setData", "/m", "success"),
        (user, "multiOperation", "failure"),
        (user, "setAcl", "/m", "success"),
        ("ephemeralZNodeDeletionOnSessionCloseOrExpire", "/e-0000000000", "success"),
    ]


def test_writes_of_other_servers_clients(observer: ServerProcess, ensemble: ApacheEnsemble) -> None:
    """Only the deletion of an ephemeral is in the log of each server, as with Apache ZooKeeper."""
    client = KazooClient(hosts=ensemble.hosts, timeout=20.0)
    client.start(timeout=20)
    client.create("/other", ephemeral=True)
    session_id = client.client_id[0]
    client.stop()
    client.close()
    wait_until(lambda: bool(shown(observer, session_id)), "the records")
    assert shown(observer, session_id) == [
        ("ephemeralZNodeDeletionOnSessionCloseOrExpire", "/other", "success")
    ]
