"""Check one wheel in an environment that has nothing else: cibuildwheel runs this for each wheel.

``python tests/wheel_smoke.py compiled`` (or ``pure``) checks which build is installed, starts the
server, and writes and reads one znode. This program imports no module of the checkout.
"""

import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import kazoo.client

import zoolet
from zoolet.model.build import DESCRIPTION

TIMEOUT_S = 60
CHECKOUT_SOURCES = Path(__file__).parents[1] / "src"


def check_build(wanted: str) -> None:
    """Stop if ``zoolet`` is imported from the checkout, or is another build than ``wanted``."""
    found = Path(zoolet.__file__)
    if found.is_relative_to(CHECKOUT_SOURCES):
        raise SystemExit(f"zoolet is imported from the checkout, not from the wheel: {found}")
    if not re.search(rf"\b{wanted}\b", DESCRIPTION):
        raise SystemExit(f"the wheel has the build {DESCRIPTION}, not {wanted}")
    print(f"{DESCRIPTION} from {found.parent}")


def serve_one_znode(home: Path) -> None:
    """Start the server as a user does, write and read a znode, and stop the server."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = home / "zoo.cfg"
    config.write_text(
        f"tickTime=2000\ndataDir={home / 'data'}\nclientPort={port}\n"
        "clientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
    )
    script = Path(sys.executable).with_name("zkServer.sh")
    server = subprocess.Popen([script, "start-foreground", config], cwd=home)
    try:
        client = kazoo.client.KazooClient(hosts=f"127.0.0.1:{port}")
        client.start(timeout=TIMEOUT_S)
        client.create("/smoke", b"data")
        if client.get("/smoke")[0] != b"data":
            raise SystemExit("the server returned other data than it got")
        client.stop()
        client.close()
    finally:
        server.terminate()
        status = server.wait(TIMEOUT_S)
    if status:
        raise SystemExit(f"the server ended with status {status}")
    print("The server served a znode and stopped.")


if __name__ == "__main__":
    check_build(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        serve_one_znode(Path(directory))
