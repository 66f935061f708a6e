"""The shell on a real server: what commands print, how they fail, and what they return."""

import base64
import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.support.shell import Ran, printed, run_shell
from tests.support.waiting import wait_until
from zoolet.client import Client, ConnectionLossError
from zoolet.shell.connection import Connection
from zoolet.shell.context import Context
from zoolet.shell.output import Output
from zoolet.shell.settings import read_settings
from zoolet.testing import ServerProcess


def test_commands_print_what_apache_zookeeper_prints(server: ServerProcess, client: Any) -> None:
    assert printed(server, "create", "/a", "two words") == "Created /a\n"
    assert printed(server, "create", "-s", "/a/n-", "") == "Created /a/n-0000000000\n"
    assert printed(server, "create", "/a/b", "x", "world:anyone:r") == "Created /a/b\n"
    assert printed(server, "ls", "/a") == "[b, n-0000000000]\n"
    assert printed(server, "ls", "-R", "/a") == "/a\n/a/b\n/a/n-0000000000\n"
    assert printed(server, "get", "/a") == "two words\n"
    assert printed(server, "set", "-v", "0", "/a", "new") == ""
    assert printed(server, "get", "-s", "/a").splitlines()[::7] == ["new", "dataVersion = 1"]
    assert "numChildren = 2\n" in printed(server, "stat", "/a")
    assert printed(server, "delete", "/a/b") == ""
    assert printed(server, "deleteall", "/a") == ""
    assert printed(server, "ls", "/") == "[zookeeper]\n"
    assert client.get_children("/") == ["zookeeper"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["get", "/missing"], 1, "Node does not exist: /missing"),
        (["create", "/zookeeper", "x"], 1, "Node already exists: /zookeeper"),
        (["delete", "/full"], 1, "Node not empty: /full"),
        (["set", "-v", "9", "/full", "x"], 1, "version No is not valid : /full"),
        (["create", "/zookeeper/config/x", "y"], 1, "permission : /zookeeper/config/x"),
        (["create", "/bad", "x", "digest:nonsense:r"], 1, "Acl is not valid : /bad"),
        (["delete", "/zookeeper"], 1, "Arguments are not valid : /zookeeper"),
        (["deleteall", "/"], 1, "the root and ZooKeeper's own znodes cannot be deleted or moved"),
        (["deleteall", "/zookeeper"], 1, "Arguments are not valid : /zookeeper"),
        (["get", "relative"], 1, "is not valid: a path starts with /"),
        (["create", "-t", "10", "/ttl"], 1, "KeeperErrorCode = Unimplemented for /ttl"),
        (["removewatches", "/full"], 1, "KeeperErrorCode = No such watcher for /full"),
        (["redo", "0"], 2, "redo"),
        (["connect", "nonsense:x"], 1, "HOST:PORT"),
        (["config", "extra"], 2, "too many words"),
        (["create", "-c", "-e", "/x"], 2, "Containers cannot be ephemeral"),
        (["set", "-b", "/full", "!"], 2, "not base64"),
        (["setquota", "/full"], 2, "needs a limit"),
        (["setquota", "-n", "1", "/"], 1, "quota of the root"),
        (["setquota", "-n", "1", "/missing"], 1, "/missing does not exist."),
        (["delquota", "/full"], 1, "Quota does not exist for /full"),
        (["reconfig", "-v", "xyz", "-remove", "1"], 2, "hexadecimal"),
        (["reconfig", "-file", "/nowhere"], 1, "/nowhere cannot be read"),
        (["grep", "(", "/full"], 2, "not a regular expression"),
        (["find", "-owner", "me", "/full"], 2, "not a session id"),
        (["tree", "-L", "-1", "/full"], 2, "0 or more"),
        (["cp", "full", "/copy"], 2, "a place is /PATH"),
        (["nonsense"], 127, "Command not found: nonsense"),
    ],
)
def test_what_fails_says_so(
    server: ServerProcess, client: Any, words: list[str], status: int, message: str
) -> None:
    client.create("/full/x", makepath=True)
    ran = run_shell(server.hosts, *words)
    assert (ran.status, ran.out) == (status, "")
    assert message in ran.err


def test_lines_from_a_pipe(server: ServerProcess) -> None:
    lines = "create /a 'b c'\n\nget /a\nget /missing\nget 'x\nhistory\nquit\nls /\n"
    assert run_shell(server.hosts, lines=lines) == Ran(
        0,
        "Created /a\nb c\n"
        "0 - create /a 'b c'\n1 - get /a\n2 - get /missing\n3 - get 'x\n4 - history\n",
        "Node does not exist: /missing\na quote is not closed: 'x\n",
    )
    assert run_shell(server.hosts, lines="get /missing\n").status == 1
    assert run_shell(server.hosts, lines="get /missing\nquit\n").status == 1


def test_redo_repeats_a_line(server: ServerProcess) -> None:
    ran = run_shell(server.hosts, lines="create -s /a-\nredo 0\nredo 1\nredo 3\nredo x\nhistory\n")
    assert ran.out.startswith(
        "Created /a-0000000000\nCreated /a-0000000001\nCreated /a-0000000002\n"
    )
    assert "1 - create -s /a-\n2 - create -s /a-\n" in ran.out
    assert ran.err == "Command index out of range\nusage: redo cmdno\n"


def test_null_is_kept_apart_from_empty_data(server: ServerProcess, client: Any) -> None:
    assert printed(server, "create", "/null") == "Created /null\n"
    assert printed(server, "create", "/empty", "") == "Created /empty\n"
    assert (client.get("/null")[0], client.get("/empty")[0]) == (None, b"")
    assert (printed(server, "get", "/null"), printed(server, "get", "/empty")) == ("null\n", "\n")


def test_bytes_come_through(server: ServerProcess, client: Any) -> None:
    client.create("/text", "a\r\n\x1b[1mgrün".encode())
    client.create("/bytes", b"\x00\xff")
    assert printed(server, "get", "/text") == "a\r\n\x1b[1mgrün\n"
    assert printed(server, "get", "/bytes") == "\x00\\xff\n"
    encoded = printed(server, "get", "-b", "/bytes").strip()
    assert base64.b64decode(encoded) == b"\x00\xff"
    assert printed(server, "set", "-b", "/text", encoded) == ""
    assert client.get("/text")[0] == b"\x00\xff"


def test_words_that_are_no_text_come_through(server: ServerProcess, client: Any) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "zoolet.shell",
            "-server",
            server.hosts,
            "create",
            "/a",
            b"\xff\xfe",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    subprocess.run(
        [sys.executable, "-m", "zoolet.shell", "-server", server.hosts],
        input=b"create /b \xff\xfe\n",
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert client.get("/a")[0] == client.get("/b")[0] == b"\xff\xfe"


def test_a_reader_that_goes_ends_the_shell_quietly(server: ServerProcess, client: Any) -> None:
    client.create("/big", b"x" * 900_000)
    shell = f"{sys.executable} -m zoolet.shell -server {server.hosts} get /big | head -c 3"
    completed = subprocess.run(
        ["/bin/sh", "-c", shell], capture_output=True, text=True, timeout=60, check=True
    )
    assert (completed.stdout, completed.stderr) == ("xxx", "")


@pytest.mark.parametrize(
    ("redirection", "out", "err", "status"),
    [
        ("get /a <&-", "x\n", "", 0),
        ("<&-", "", "", 0),
        ("get /a >&-", "", "", 0),
        ("get /missing 2>&-", "", "", 1),
        ("get /a >/dev/full", "", "The output cannot be written: ", 1),
    ],
)
def test_streams_may_be_closed_or_full(
    server: ServerProcess, client: Any, redirection: str, out: str, err: str, status: int
) -> None:
    client.create("/a", b"x")
    command = f"{sys.executable} -m zoolet.shell -server {server.hosts} {redirection}"
    completed = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert (completed.returncode, completed.stdout) == (status, out)
    assert completed.stderr.startswith(err)
    assert "Traceback" not in completed.stderr


def test_garbage_ends_no_shell(server: ServerProcess) -> None:
    garbage = random.Random(7).randbytes(20_000)
    completed = subprocess.run(
        [sys.executable, "-m", "zoolet.shell", "-server", server.hosts],
        input=garbage + b"\nls /zookeeper\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 0
    assert completed.stdout.endswith(b"[config, quota]\n")
    assert b"Traceback" not in completed.stderr


def test_data_that_no_server_takes_is_said(server: ServerProcess, client: Any) -> None:
    client.create("/a")
    ran = run_shell(server.hosts, lines=f"set /a {'x' * 2_000_000}\nls /\n")
    assert ran.out == "[a, zookeeper]\n"
    assert "after data of 2,000,000 bytes" in ran.err
    assert "jute.maxbuffer" in ran.err


def test_read_only_refuses_what_changes_anything(server: ServerProcess, client: Any) -> None:
    client.create("/a", b"x")
    for words in (
        *(["create", "/b"], ["set", "/a", "y"], ["delete", "/a"], ["deleteall", "/a"]),
        *(["setAcl", "/a", "world:anyone:r"], ["setquota", "-n", "1", "/a"], ["delquota", "/a"]),
        *(["cp", "/a", "/b"], ["mv", "/a", "/b"], ["import", "x", "/b"], ["edit", "/a"]),
        ["reconfig", "-remove", "1"],
    ):
        ran = run_shell(server.hosts, *words, options=("--read-only",))
        assert (ran.status, ran.err) == (
            1,
            f"{words[0]}: refused, since the shell is --read-only\n",
        )
    assert client.get("/a")[1].version == 0
    assert run_shell(server.hosts, "get", "/a", options=("--read-only",)).out == "x\n"


def test_every_command_speaks_json(server: ServerProcess, tmp_path: Path) -> None:
    lines = f"""
create /a {{"x":1}}
create -e /a/e
get /a
get -w /a
ls -s /a
ls -R /a
stat /a
set /a y
getAcl /a
setAcl /a world:anyone:cdrwa
setAcl -R /a world:anyone:cdrwa
getAllChildrenNumber /a
getEphemerals
sync /a
whoami
config
addWatch /a
set /a z
removewatches /a
printwatches
setquota -n 1 /a
listquota /a
delquota -n /a
delquota /a
tree /a
find /a
grep z /a
du /a
cp -e /a /b
diff /a /b
mv /b /c
export /c
export /c {tmp_path / "c"}
import {tmp_path / "c"} /d
sessions
help
help ls
history
version
addauth digest ann:secret
watch -n 0 /a
delete /a/e
deleteall /a
close
connect
get /a
"""
    ran = run_shell(server.hosts, lines=lines, options=("--output", "json"))
    values = [json.loads(line) for line in ran.out.splitlines()]
    assert all(isinstance(value, dict) for value in values)
    assert values[2]["data"] == '{"x":1}'
    # It comes with the answer to set, or just before it: the client's threads decide.
    event = {"event": "NodeDataChanged", "path": "/a"}
    assert any(event.items() <= value.items() for value in values[7:10])
    assert [json.loads(line) for line in ran.err.splitlines()] == [
        {"error": "Node does not exist: /a"}
    ]


def test_a_chroot_is_the_root(server: ServerProcess, client: Any) -> None:
    ran = run_shell(f"{server.hosts}/app", "ls", "/")
    assert (ran.status, ran.out) == (1, "")
    assert "/app does not exist" in ran.err
    client.create("/app/x", makepath=True)
    ran = run_shell(f"{server.hosts}/app", lines="ls /\ntree /\nls -R /\ndeleteall /x\nconfig\n")
    assert ran.out == "[x]\n/\n└── x\n/\n/x\n\n"
    assert ran.err == ""
    for line in ("setquota -n 1 /x", "config -w"):
        ran = run_shell(f"{server.hosts}/app", lines=line)
        assert ran.status == 1
        assert "root of this connection" in ran.err


def test_a_failed_proof_ends_the_session(server: ServerProcess) -> None:
    ran = run_shell(server.hosts, lines="addauth nonsense x\nls /\nconnect\nls /\n")
    assert ran.out == "[zookeeper]\n"
    assert ran.err.splitlines() == [
        "Authentication failed and the session is closed; use connect to open a new session",
        "Not connected",
    ]


def test_connect_and_close(server: ServerProcess, client: Any) -> None:
    client.create("/app")
    lines = f"create -e /mine\nclose\nclose\nls /\nconnect {server.hosts}/app\nls /\n"
    ran = run_shell(server.hosts, lines=lines)
    assert (ran.out, ran.err) == ("Created /mine\n[]\n", "Not connected\n")
    assert client.exists("/mine") is None


def test_what_reads_is_read_again_over_a_new_connection(server: ServerProcess, client: Any) -> None:
    client.create("/a", b"x")
    with Client(server.hosts) as other:
        found = other.get("/a")
    with mock.patch.object(Client, "get", side_effect=[ConnectionLossError(), found]):
        assert printed(server, "get", "/a") == "x\n"
    with mock.patch.object(Client, "get", side_effect=ConnectionLossError()):
        ran = run_shell(server.hosts, "get", "/a")
    assert (ran.status, ran.out) == (1, "")
    assert "run it again" in ran.err


def test_a_change_is_never_made_twice(server: ServerProcess) -> None:
    with mock.patch.object(Client, "set", side_effect=ConnectionLossError()) as setting:
        ran = run_shell(server.hosts, "set", "/a", "x")
    assert setting.call_count == 1
    assert ran.err == "The connection was lost; the command may have been executed or not: /a\n"


def test_watch_shows_a_subtree_live(server: ServerProcess, client: Any) -> None:
    client.create("/a", b"x")
    with watching(server, "watch", "-R", "-n", "4", "/a") as shell:
        assert shell.stdout is not None
        client.set("/a", b"y")
        assert shell.stdout.readline() == "changed /a: y\n"
        client.create("/a/b", b"two\nlines")
        assert shell.stdout.readline() == "created /a/b: two\n"
        assert shell.stdout.readline() == "lines\n"
        client.delete("/a/b")
        assert shell.stdout.readline() == "deleted /a/b\n"
        server.restart()
        wait_until(lambda: "Total watches:1" in server.ask("wchs"), "the watch on a new connection")
        client.set("/a", b"z")
        out, err = shell.communicate(timeout=60)
    assert (shell.returncode, out) == (0, "changed /a: z\n")
    assert err == "The connection was lost and is restored; changes in between are not shown\n"


def test_watch_shows_one_znode_in_json(server: ServerProcess, client: Any) -> None:
    client.create("/a", b"x")
    with watching(server, "--output", "json", "watch", "-n", "3", "/a") as shell:
        client.create("/a/b")
        client.set("/a", b"\xff")
        client.delete("/a/b")
        out, _ = shell.communicate(timeout=60)
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == [
        *("NodeChildrenChanged", "NodeDataChanged", "NodeChildrenChanged")
    ]
    assert events[1]["data_base64"] == "/w=="
    assert server.ask("wchs").endswith("Total watches:0\n")


@contextlib.contextmanager
def watching(server: ServerProcess, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a shell that watches; give it when its watch is there."""
    with subprocess.Popen(
        [sys.executable, "-m", "zoolet.shell", "-server", server.hosts, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as shell:
        try:
            wait_until(lambda: "Total watches:1" in server.ask("wchs"), "the watch")
            yield shell
        finally:
            shell.kill()


def test_events_may_be_turned_off(server: ServerProcess) -> None:
    lines = """create /a
addWatch -m PERSISTENT /a
set /a 1
ls /
printwatches off
set /a 2
ls /
printwatches
removewatches /a
"""
    ran = run_shell(server.hosts, lines=lines)
    assert ran.out.count("WatchedEvent") == 1
    assert ran.out.count("WATCHER::") == 1
    assert ran.out.endswith("printwatches is off\n")


def test_a_server_that_only_reads_is_taken_where_that_is_asked_for() -> None:
    for options, is_taken in ((("-r",), True), ((), False)):
        with mock.patch.object(Connection, "open"), mock.patch.object(Connection, "close"):
            settings = read_settings([*options, "help"], {})
            context = Context(settings, Output(is_json=False, has_pager=False))
        assert context.client._options.takes_read_only_server is is_taken


def test_a_quota_of_an_old_client_without_hard_limits_is_changed(
    server: ServerProcess, client: Any
) -> None:
    client.create("/a")
    client.create("/zookeeper/quota/a/zookeeper_limits", b"count=9,bytes=-1", makepath=True)
    client.create("/zookeeper/quota/a/zookeeper_stats", b"count=1,bytes=0")
    assert "[Warning]" not in printed(server, "setquota", "-n", "5", "/a")
    text, _ = client.get("/zookeeper/quota/a/zookeeper_limits")
    assert text == b"count=5,bytes=-1"
