"""What works on Windows, and the message of what does not (simulated: see windows.py)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from zoolet.testing import EmbeddedServer

TIMEOUT_S = 60
MESSAGE = " needs Linux, macOS or another POSIX system. On Windows, run it in WSL or in a container"


def on_windows(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code as on Windows."""
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("windows.py")), code, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def printed(code: str, *arguments: str) -> Any:
    """Return the JSON that code prints at its end on Windows."""
    completed = on_windows(code, *arguments)
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout.splitlines()[-1])


def test_client_jobs_shell_and_recordings_are_imported() -> None:
    found = printed(
        """
import json, sys
import zoolet.cli, zoolet.client, zoolet.jobs, zoolet.testing
import zoolet.jobs.cli.commands, zoolet.shell.main
names = [(module.__name__, name) for module in (zoolet.client, zoolet.jobs, zoolet.testing)
         for name in module.__all__]
for module, name in names:
    getattr(sys.modules[module], name)
print(json.dumps([len(names), sys.platform]))
"""
    )
    assert found[0] > 80
    assert found[1] == "win32"


def test_a_recording_is_made_and_replayed(tmp_path: Path) -> None:
    recording = tmp_path / "recording.jsonl"
    code = """
import json, sys
from pathlib import Path
from kazoo.client import KazooClient
from zoolet.testing import Recorder, Replay
hosts, path = sys.argv[1:]
with Recorder(hosts, Path(path)) if hosts else Replay(Path(path)) as stand_in:
    client = KazooClient(hosts=stand_in.hosts)
    client.start()
    client.create("/clé", "é".encode())
    data, _ = client.get("/clé")
    client.stop()
    client.close()
print(json.dumps(data.decode()))
"""
    with EmbeddedServer() as server:
        assert printed(code, server.hosts, str(recording)) == "é"
    assert printed(code, "", str(recording)) == "é"
    assert b"\r" not in recording.read_bytes()


def test_jobs_are_submitted_and_run_in_threads() -> None:
    code = """
import json, sys
from zoolet.jobs import Dispatcher, JobRequest, Worker
with Worker(sys.argv[1], "/queue", threads=True), Dispatcher(sys.argv[1], "/queue") as dispatcher:
    batch = dispatcher.submit_batch([JobRequest("operator:is_", parameters={})])
    print(json.dumps([job.state.value for job in batch.results(timeout_s=50)]))
"""
    with EmbeddedServer() as server:
        assert printed(code, server.hosts) == ["SUCCESSFUL"]


def test_what_needs_posix_says_so() -> None:
    """A command or script prints one line and exits with status 1; a class raises an error."""
    code = """
import contextlib, io, json, sys
import zoolet.cli, zoolet.entry
from zoolet.jobs import Worker
from zoolet.testing import EmbeddedServer, ServerProcess

def said(call, *words):
    sys.argv, status, errors = ["program", *words], None, io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            call()
        except SystemExit as end:
            status = end.code
        except Exception as error:
            return [type(error).__name__, str(error)]
    return [status, errors.getvalue()]

print(json.dumps({
    "zoolet server": said(zoolet.entry.main, "server", "start", "--help"),
    "zoolet worker": said(zoolet.entry.main, "worker", "--queue", "/x"),
    "zoolet data": said(zoolet.entry.main, "data", "check", "x"),
    "zkServer.sh": said(zoolet.entry.zk_server, "start-foreground"),
    "zkCleanup.sh": said(zoolet.cli.zk_cleanup),
    "zkTxnLogToolkit.sh": said(zoolet.cli.zk_txn_log_toolkit),
    "zkSnapShotToolkit.sh": said(zoolet.cli.zk_snapshot_toolkit),
    "zkSnapshotComparer.sh": said(zoolet.cli.zk_snapshot_comparer),
    "EmbeddedServer": said(EmbeddedServer),
    "ServerProcess": said(ServerProcess),
    "Worker": said(lambda: Worker("127.0.0.1:1", "/queue")),
}))
"""
    found = printed(code)
    raised = {"EmbeddedServer": "RuntimeError", "ServerProcess": "RuntimeError"}
    raised["Worker"] = "ExecutorError"
    assert {name: how for name, (how, _) in found.items()} == dict.fromkeys(found, 1) | raised
    subjects = dict.fromkeys(raised, "a server for tests") | {"Worker": "a worker"}
    for name, (_, message) in found.items():
        prefix = "" if name in raised else "zoolet: "  # the name of the program that fails
        assert message.startswith(f"{prefix}{subjects.get(name, name)}{MESSAGE}"), name
        assert message.rstrip("\n").count("\n") == 0


def test_the_list_of_commands_is_complete() -> None:
    completed = on_windows("from zoolet.cli import main; main()", "--help")
    assert completed.returncode == 0, completed.stderr
    for name in ("data", "jobs", "server", "shell", "worker"):
        assert f"\n  {name} " in completed.stdout


def test_the_shell_runs_commands() -> None:
    with EmbeddedServer() as server:
        code = "from zoolet.cli import zk_cli; zk_cli()"
        completed = on_windows(code, "-server", server.hosts, "create", "/a", "b")
        assert (completed.returncode, completed.stdout) == (0, "Created /a\n"), completed.stderr
