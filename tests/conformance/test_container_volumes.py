"""A container of zoolet continues with the volumes of Apache ZooKeeper, and the other way round."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.container_entry import (
    Image,
    answers,
    create,
    require_namespaces,
    servers,
)
from tests.support.scripts import TIMEOUT_S
from tests.support.waiting import wait_until
from zoolet.testing import ReservedPort

NODEEXISTS = -110


@contextmanager
def apache_started(image: Image, jars: Path, port: int) -> Iterator[None]:
    """Run Apache ZooKeeper with the zoo.cfg in the image, as zkServer.sh starts it."""
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    command = ["java", "-Xmx256m", "-cp", f"{jars}/*", main, str(image.zoo_cfg)]
    with (
        (image.root / "apache.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(
                lambda: answers(port) or process.poll() is not None, "Apache ZooKeeper's answer"
            )
            assert process.poll() is None, (image.root / "apache.log").read_text()
            yield
            process.terminate()
            assert process.wait(TIMEOUT_S) == 143
        finally:
            process.kill()


def test_each_server_continues_with_the_volumes_of_the_other(
    tmp_path: Path, apache_jars: Path
) -> None:
    """Both servers use the zoo.cfg that the entry point writes with settings of ensembles."""
    require_namespaces()
    image, reserved = Image(tmp_path), ReservedPort()
    port = reserved.number
    image.variables |= {
        "ZOO_SERVERS": servers(port),
        "ZOO_INIT_LIMIT": "5",
        "ZOO_SYNC_LIMIT": "2",
        "ZOO_CFG_EXTRA": "preAllocSize=64",
    }
    assert image.run("true").returncode == 0
    with apache_started(image, apache_jars, port):
        assert create(port, "/a") == 0
    with image.started(port) as process:
        assert create(port, "/a") == NODEEXISTS
        assert create(port, "/b") == 0
        process.terminate()
        assert process.wait(TIMEOUT_S) == 143
    with apache_started(image, apache_jars, port):
        assert [create(port, path) for path in ("/a", "/b", "/c")] == [NODEEXISTS, NODEEXISTS, 0]
    assert "initLimit is ignored" in image.log
