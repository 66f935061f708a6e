"""Apache's C client, through its shell cli_mt, sees the same on zoolet as on Apache ZooKeeper."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.skips import needs
from zoolet.testing import ApacheServer, ServerProcess

CLI = Path("/usr/lib/zookeeper/bin/cli_mt")
SETTINGS = {"tickTime": 2000, "extendedTypesEnabled": "true"}

DIALOGUE = (
    ("create /a", "name = /a"),
    ("create /a", "rc = -110"),
    ("create +e /a/e", "name = /a/e"),
    ("create +s /a/s-", "name = /a/s-"),
    ("create +es /a/es-", "name = /a/es-"),
    ("create2 /b", "ephemeralOwner"),
    ("create +c /c", "name = /c"),
    ("create +t=100000 /t", "name = /t"),
    ("create /a/e/child", "rc = -108"),
    ("ls /", "time ="),
    ("ls2 /a", "ephemeralOwner"),
    ("get /a", "ephemeralOwner"),
    ("set /a hello", "ephemeralOwner"),
    ("get /a", "ephemeralOwner"),
    ("wexists /soon", "rc = -101|Error -101"),
    ("create /soon", "CREATED_EVENT"),
    ("set /missing x", "rc = -101"),
    ("delete /a", "rc = -111"),
    ("delete /b", "rc = 0"),
    ("delete /b", "rc = -101"),
    ("sync /a", "rc = 0"),
    ("config", "ephemeralOwner"),
    ("reconfig -remove 3", "rc = -"),
)
"""What is typed, and what ends its answer."""


@pytest.mark.skipif(not CLI.exists(), reason=needs("ZooKeeper's C client", "zookeeper-bin"))
def test_the_c_client_sees_the_same(tmp_path: Path, apache_jars: Path) -> None:
    printed = []
    for server in (
        ApacheServer(tmp_path / "apache", apache_jars, SETTINGS),
        ServerProcess(tmp_path / "zoolet", SETTINGS),
    ):
        with server:
            printed.append(talk(server.hosts))
    expected, actual = printed
    assert actual == expected


def talk(hosts: str) -> list[list[str]]:
    """Have the dialogue; return what came of each line, with times taken out, in any order."""
    process = subprocess.Popen(
        ["stdbuf", "--output=0", CLI, "-h", hosts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = [read_until(process, "Got a new session id")[:0]]
        for typed, end in DIALOGUE:
            process.stdin.write(f"{typed}\n")
            process.stdin.flush()
            answers.append(read_until(process, end))
        process.stdin.write("quit\n")
        process.stdin.close()
        process.stdout.read()
        assert process.wait(timeout=20) == 0
    return answers


def read_until(process: "subprocess.Popen[str]", end: str) -> list[str]:
    """Return the lines up to one that holds ``end``, sorted: two threads write them."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        kept = re.sub(r"time ?= ?.*", "time = T", line.rstrip())
        kept = re.sub(r"ephemeralOwner = [1-9]\d*", "ephemeralOwner = SESSION", kept)
        lines.append(re.sub(r"(session id|Id)\W+\w+", "session", kept))
        if re.search(end, line):
            return sorted(lines)
    raise AssertionError(f"cli_mt ended before {end!r}: {lines}")
