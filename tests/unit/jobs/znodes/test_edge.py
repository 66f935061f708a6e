"""Only the two links know a client of ZooKeeper, and kazoo is imported only for a user's client."""

import subprocess
import sys
from pathlib import Path

import zoolet.jobs
from tests.unit.test_imports import imported_modules

KNOWS_KAZOO = {"kazoo_link"}
KNOWS_CLIENT = {"async_link", "client_link", "client_multis", "connection"}
CLIENTS = ("zoolet.client.thread_client", "zoolet.client.asyncio_client", "zoolet.client.protocol")
CHOOSES = {
    "connection": {"kazoo.client", "kazoo.client.KazooClient"},
    "dispatcher": {"zoolet.client.asyncio_client.client"},
}
"""These modules accept a client of the user, and call nothing of it."""


def test_only_the_links_know_a_client() -> None:
    wrong = []
    for source in sorted(Path(zoolet.jobs.__file__).parent.rglob("*.py")):
        for name in imported_modules(source) - CHOOSES.get(source.stem, set()):
            is_kazoo = name.split(".")[0] == "kazoo" or name.startswith("zoolet.client.kazoo")
            is_client = name.startswith(CLIENTS)
            if (is_kazoo and source.stem not in KNOWS_KAZOO) or (
                is_client and source.stem not in KNOWS_CLIENT
            ):
                wrong.append(f"{source.name} imports {name}")
    assert wrong == []


def test_the_job_system_itself_does_not_import_kazoo() -> None:
    program = """if True:
        import sys
        import zoolet.jobs.cli.commands, zoolet.jobs.dispatcher.dispatcher, zoolet.jobs.worker.run
        print("kazoo" in sys.modules)
    """
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert completed.stdout == "False\n"
