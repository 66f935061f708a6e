"""What the shell needs for a znode with many children: seconds and memory, beside Java's zkCli.

Both list the same ZNODES children of 100 bytes on the same zoolet, and delete them; ours also walks
over them, sums, copies and compares. Java's client takes no answer over a megabyte unless it is
told to, and is told to here. Usage: python -m benchmarks.shell_listing [ZNODES [JARS]].
"""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

from kazoo.client import KazooClient
from rich.console import Console
from rich.table import Table

from benchmarks.servers import scratch
from zoolet.client.kazoo import create_request, multi_async
from zoolet.testing import ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS

DATA = b"x" * 100
PER_MULTI = 1000
COMMANDS = (
    "ls /big",
    "ls -R /big",
    "getAllChildrenNumber /big",
    "tree /big",
    "find -name *99999 /big",
    "du /big",
    "export -A /big",
    "export /big",
    "cp /big /copy",
    "diff -A /big /copy",
    "mv -A /copy /moved",
    "deleteall /moved",
)
JAVA_COMMANDS = ("ls /big", "ls -R /big", "deleteall /big")


def fill(hosts: str, znodes: int) -> None:
    """Create the children."""
    client = KazooClient(hosts=hosts)
    client.start()
    client.create("/big")
    sent = []
    for start in range(0, znodes, PER_MULTI):
        names = [f"/big/child-{number:07d}" for number in range(start, start + PER_MULTI)]
        sent.append(multi_async(client, [create_request(client, name, DATA) for name in names]))
    for result in sent:
        result.get()
    client.stop()
    client.close()


def run(command: list[str]) -> tuple[float, float, int]:
    """Return the seconds that a program runs, the MB it has at most, and its exit status."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    taken_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return taken_s, usage.ru_maxrss / 1000, process.returncode


def main() -> None:
    """Measure and print."""
    znodes = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    jars = Path(sys.argv[2]) if len(sys.argv) > 2 else DEBIAN_JARS
    table = Table("", "", "time", "most memory", title=f"{znodes:,} children of {len(DATA)} bytes")
    java = ["java", "-Djute.maxbuffer=100000000", "-cp", f"{jars}/*"]
    shells = (
        ("zoolet", [sys.executable, "-m", "zoolet.shell"], COMMANDS),
        ("Java", [*java, "org.apache.zookeeper.ZooKeeperMain"], JAVA_COMMANDS),
    )
    with scratch() as home, ServerProcess(home, {"tickTime": 2000}) as server:
        # In a process of its own: what a child has at most counts from what its parent has.
        filling = multiprocessing.Process(target=fill, args=(server.hosts, znodes))
        filling.start()
        filling.join()
        for name, shell, commands in shells:
            for command in commands:
                taken_s, most_mb, status = run([*shell, "-server", server.hosts, *command.split()])
                shown = f"{taken_s:.2f} s" if status == 0 else f"status {status}"
                table.add_row(name, command, shown, f"{most_mb:,.0f} MB")
    Console().print(table)


if __name__ == "__main__":
    main()
