"""The shell on the real server: one command, a pipe, and a person at a terminal."""

import subprocess
import sys
from typing import Any

import pexpect
import pytest

from zoolet.testing import ServerProcess

WAIT_S = 20


def shell(
    server: ServerProcess, *words: str, lines: str | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "zoolet.shell", "-server", server.hosts, *words],
        input=lines,
        stdin=subprocess.DEVNULL if lines is None else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_commands_print_what_the_original_prints(server: ServerProcess, client: Any) -> None:
    def printed(*words: str) -> str:
        completed = shell(server, *words)
        assert (completed.returncode, completed.stderr) == (0, "")
        return completed.stdout

    assert printed("create", "/a", "two words") == "Created /a\n"
    assert printed("create", "-s", "/a/n-", "") == "Created /a/n-0000000000\n"
    assert printed("create", "/a/b", "x", "world:anyone:r") == "Created /a/b\n"
    assert printed("ls", "/a") == "[b, n-0000000000]\n"
    assert printed("ls", "-R", "/a") == "/a\n/a/b\n/a/n-0000000000\n"
    assert printed("get", "/a") == "two words\n"
    assert printed("set", "-v", "0", "/a", "new") == ""
    assert printed("get", "-s", "/a").splitlines()[::7] == ["new", "dataVersion = 1"]
    assert "numChildren = 2\n" in printed("stat", "/a")
    assert printed("delete", "/a/b") == ""
    assert printed("deleteall", "/a") == ""
    assert printed("ls", "/") == "[zookeeper]\n"
    assert client.get_children("/") == ["zookeeper"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "/missing"], "Node does not exist: /missing"),
        (["create", "/zookeeper", "x"], "Node already exists: /zookeeper"),
        (["delete", "/full"], "Node not empty: /full"),
        (["set", "-v", "9", "/full", "x"], "version No is not valid : /full"),
        (["create", "/zookeeper/config/x", "y"], "Insufficient permission : /zookeeper/config/x"),
        (["create", "/bad", "x", "digest:nonsense:r"], "Acl is not valid : /bad"),
        (["delete", "/zookeeper"], "Arguments are not valid : /zookeeper"),
        (["get", "relative"], "is not valid: a path starts with /"),
        (["nonsense"], "Command not found: nonsense"),
    ],
)
def test_what_fails_says_so(
    server: ServerProcess, client: Any, words: list[str], message: str
) -> None:
    client.create("/full/x", makepath=True)
    completed = shell(server, *words)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert message in completed.stderr


def test_a_command_that_is_written_wrong_is_status_2(server: ServerProcess) -> None:
    completed = shell(server, "ls")
    assert completed.returncode == 2
    assert "usage: ls [-s] [-R] path" in completed.stderr


def test_lines_from_a_pipe(server: ServerProcess) -> None:
    completed = shell(server, lines="create /a 'b c'\n\nget /a\nget /missing\nquit\nls /\n")
    assert completed.stdout == "Created /a\nb c\n"
    assert completed.stderr == "Node does not exist: /missing\n"
    assert completed.returncode == 0
    assert shell(server, lines="get /missing\n").returncode == 1


def test_no_server_is_said_in_time() -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "zoolet.shell", *("-server", "127.0.0.1:1", "-timeout", "300")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 1
    assert completed.stderr == (
        "no ZooKeeper server answers at 127.0.0.1:1 within 0.3 s: is it running, and is the address"
        " right (-server HOST:PORT)?\n"
    )


def test_a_person_at_a_terminal(server: ServerProcess) -> None:
    person = pexpect.spawn(
        sys.executable,
        ["-m", "zoolet.shell", "-server", server.hosts],
        encoding="utf-8",
        timeout=WAIT_S,
        dimensions=(40, 120),
        env={"TERM": "dumb", "PATH": "/usr/bin:/bin"},
    )
    person.expect_exact(f"[zk: {server.hosts}(CONNECTED) 0] ")
    person.sendline("create /typed 'by hand'")
    person.expect_exact("Created /typed")
    person.expect_exact("(CONNECTED) 1] ")
    person.sendintr()  # Ctrl-C at the prompt clears the line and no more
    person.expect_exact("(CONNECTED) 1] ")
    server.restart()
    person.sendline("get /typed")
    person.expect_exact("by hand")
    person.sendline("get /nothing")
    person.expect_exact("Node does not exist: /nothing")
    person.sendline("quit")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0
