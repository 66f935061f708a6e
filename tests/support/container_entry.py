"""The entry point of the container image as a process, with the directories of an image."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.rawclient import RawClient
from tests.support.scripts import SCRIPTS, TIMEOUT_S, Completed
from tests.support.waiting import wait_until
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.server.cli.container import USER_ID
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

ENTRY = "zoolet.server.cli.container"
ANSWER_S = 1.0
_KEPT = ("LANG", "LC_ALL", "PYTHONPATH", "HOME", "PYTHONDEVMODE", "PYTHONWARNINGS")


def as_user() -> list[str]:
    """Return the command before another one that makes root an ordinary user of the container.

    A user namespace does this: the files of root are those of user 1000 there, so the process can
    read this Python, wherever it is installed. But it has no power over files of others.
    """
    if os.geteuid() != 0:
        return []
    ids = [f"--map-user={USER_ID}", f"--map-group={USER_ID}"]
    # Root in the new namespace would have all capabilities; another user has none after exec.
    return ["unshare", "--user", *ids]


def require_namespaces() -> None:
    probe = [*as_user(), "true"]
    try:
        subprocess.run(probe, check=True, capture_output=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("becoming another user takes user namespaces, and unshare of util-linux 2.38")


class Image:
    """What the image gives to the entry point: directories, and the variables that name them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conf, self.data, self.logs = (root / name for name in ("conf", "data", "datalog"))
        for path in (self.conf, self.data, self.logs, root / "tmp", root / "bin"):
            path.mkdir()
        (root / "log").touch()
        self.variables = {
            "PATH": f"{root / 'bin'}:{SCRIPTS}:{os.environ['PATH']}",
            "TMPDIR": str(root / "tmp"),
            "ZOO_CONF_DIR": str(self.conf),
            "ZOO_DATA_DIR": str(self.data),
            "ZOO_DATA_LOG_DIR": str(self.logs),
            "ZOO_LOG_DIR": str(root / "logs"),
            "ZOO_ADMINSERVER_ENABLED": "false",
            **{name: os.environ[name] for name in _KEPT if name in os.environ},
        }

    @property
    def zoo_cfg(self) -> Path:
        return self.conf / "zoo.cfg"

    def run(
        self,
        *command: str,
        variables: Mapping[str, str] | None = None,
        before: Sequence[str] | None = None,
        module: str = ENTRY,
    ) -> Completed:
        """Run the entry point until it ends, as an ordinary user if ``before`` is not given."""
        return subprocess.run(
            [*(as_user() if before is None else before), sys.executable, "-m", module, *command],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**self.variables, **(variables or {})},
        )

    @contextmanager
    def started(self, port: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the server in the foreground; kill it at the end of the block, if it still runs."""
        with (self.root / "log").open("ab") as log:
            process = subprocess.Popen(
                [*as_user(), sys.executable, "-m", ENTRY, "zkServer.sh", "start-foreground"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.variables, "ZOO_SERVERS": servers(port), **variables},
            )
        with process:
            try:
                wait_until(lambda: accepts(port) or process.poll() is not None, "the server")
                assert process.poll() is None, self.log
                yield process
            finally:
                process.kill()

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()


def servers(port: int) -> str:
    return f"server.1=localhost:2888:3888;127.0.0.1:{port}"


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S).close()
    except OSError:
        return False
    return True


def answers(port: int) -> bool:
    """Say whether a server answers srvr.

    Apache ZooKeeper opens its port before it serves, and never answers some clients of that time.
    """
    try:
        return "Mode: " in ask(port, b"srvr", ANSWER_S)
    except OSError:
        return False


def ask(port: int, word: bytes, timeout_s: float = TIMEOUT_S) -> str:
    """Return the answer to a four-letter word."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(word)
        with connection.makefile() as answer:
            return answer.read()


def create(port: int, path: str) -> int:
    """Create a znode; return the error code of the reply."""
    with RawClient(port) as client:
        client.connect()
        body = pack_ustring(path) + pack_buffer(b"x") + pack_acl(OPEN_ACL) + INT.pack(0)
        return client.request(OpCode.CREATE, body).err
