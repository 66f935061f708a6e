"""The connection of `Client`."""

import os
import subprocess
import sys

READS = 2000
PROGRAM = f"""
import resource
import socket
from zoolet.client.thread_client.transport import PlainTransport

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

listening = socket.create_server(("127.0.0.1", 0))
transport = PlainTransport(socket.create_connection(listening.getsockname()))
server, _ = listening.accept()
before = faults()
for _ in range({READS}):
    server.send(b"x")
    assert transport.receive(1.0, is_writing=False) == b"x"
print(faults() - before)
transport.close()
"""


def test_a_read_maps_no_memory() -> None:
    """The kernel fills memory that was mapped with zeros, which takes longer than the read."""
    # Without free memory at the end of the heap, glibc maps each large buffer.
    settings = {"MALLOC_TRIM_THRESHOLD_": "1", "MALLOC_TOP_PAD_": "0"}
    completed = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | settings,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert int(completed.stdout) < READS / 2
