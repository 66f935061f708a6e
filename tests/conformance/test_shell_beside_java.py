"""Every command of Apache's Java shell beside ours, on the same server.

What both print is compared line by line; where ours differs on purpose, the reason is named here
and stands in docs/shell.md. With Debian's zkCli (3.8) the lines that only 3.9 knows are left out;
make conformance compares with 3.9.5.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import QUICK_START, release_of
from zoolet.testing.servers.process import ExternalServer

PAGE = (Path(__file__).parents[2] / "docs" / "shell.md").read_text()

SETTINGS = {"tickTime": 2000, "extendedTypesEnabled": "true"}

USAGE = "A command that is written wrong"
PATHS = "The error message for an invalid path"
ACLS = "An ACL that cannot be parsed"
VERSION = "`version` names zoolet"
START = "Nothing is printed on connecting"
QUOTA = "`listquota` does not print the path"
GROUPS = "`setquota` can set several limits"
UNKNOWN = "An unknown command"
NO_ACL = "The server's error for an ACL that it refuses is printed once"

SCRIPT: tuple[tuple[str, str], ...] = (
    ("ls /zookeeper", START),
    ("create /ROOT first", ""),
    ("create /ROOT again", ""),
    ("create /ROOT/null", ""),
    ("get /ROOT/null", ""),
    ("get -s /ROOT/null", ""),
    ("create -s /ROOT/s- one", ""),
    ("create -s /ROOT/s- two", ""),
    ("create -e /ROOT/e gone", ""),
    ("create -e -s /ROOT/e-", ""),
    ("create -c /ROOT/container", ""),
    ("create -t 100000 /ROOT/ttl data", ""),
    ("create -s -t 100000 /ROOT/ttl- data", ""),
    ("create -c -s /ROOT/x", ""),
    ("create -c -e /ROOT/x", ""),
    ("create -t 5 -e /ROOT/x", ""),
    ("create -t 5 -c /ROOT/x", ""),
    ("create -t 0 /ROOT/x", ""),
    ("create -t x /ROOT/x", USAGE),
    ("create /ROOT/e/child", ""),
    ("create /missing/child", ""),
    ("create //bad", PATHS),
    ("create bad", PATHS),
    ("create /ROOT/bad/", PATHS),
    ("create /ROOT/b data world:anyone:r", ""),
    ("create /ROOT/acl data world:anyone", ACLS),
    ("create /ROOT/acl data nonsense:anyone:r", NO_ACL),
    ("create", USAGE),
    ('create /ROOT/json {"a":1}', ""),
    ('create /ROOT/quoted "two words"', ""),
    ("create /ROOT/quoted2 'single \"double\" words'", ""),
    ('create "/ROOT/with space" x', ""),
    ('get "/ROOT/with space"', ""),
    ("get /ROOT/json", ""),
    ("get /ROOT/quoted", ""),
    ("get /ROOT/quoted2", ""),
    ("get /ROOT", ""),
    ("get -s /ROOT", ""),
    ("get -b /ROOT", ""),
    ("get -x /ROOT", ""),
    ("get -x /ROOT/null", ""),
    ("get -b /ROOT/null", ""),
    ("get /missing", ""),
    ("get", USAGE),
    ("get -q /ROOT", USAGE),
    ("set -b /ROOT aGVsbG8=", ""),
    ("set /ROOT second", ""),
    ("set -s /ROOT third", ""),
    ("set /ROOT -s fourth", ""),
    ("set -v 700 /ROOT fifth", ""),
    ("get /ROOT", ""),
    ("set /ROOT", USAGE),
    ("set /missing x", ""),
    ("stat /ROOT/null", ""),
    ("stat /missing", ""),
    ("stat -w /ROOT/null", ""),
    ("ls /ROOT", ""),
    ("ls -s /ROOT", ""),
    ("ls -R /ROOT", ""),
    ("ls", USAGE),
    ("ls /missing", ""),
    ("ls -w /ROOT", ""),
    ("ls -R -w /ROOT/b", ""),
    ("create /ROOT/one", ""),
    ("create /ROOT/one/two", ""),
    ("create /ROOT/one/two/three", ""),
    ("create /ROOT/one/zwei", ""),
    ("ls -R /ROOT/one", ""),
    ("getAllChildrenNumber /ROOT", ""),
    ("getAllChildrenNumber /missing", ""),
    ("getAllChildrenNumber", USAGE),
    ("getEphemerals", ""),
    ("getEphemerals /ROOT/e-", ""),
    ("getAcl /ROOT/b", ""),
    ("getAcl -s /ROOT/b", ""),
    ("getAcl /missing", ""),
    ("getAcl", USAGE),
    ("set /ROOT/b refused", ""),
    ("setAcl /ROOT world:anyone:cdrwa", ""),
    ("setAcl -v 9 /ROOT world:anyone:r", ""),
    ("setAcl -s /ROOT/null world:anyone:cdrwa", ""),
    ("setAcl -R /ROOT/one world:anyone:cdrwa", ""),
    ("getAcl /ROOT/one/two/three", ""),
    ("setAcl /ROOT", USAGE),
    ("setAcl /missing world:anyone:r", ""),
    ("addauth digest ann:secret", ""),
    ("addauth", USAGE),
    ("whoami", ""),
    ("create /ROOT/mine secret auth::cdrwa", ""),
    ("getAcl /ROOT/mine", ""),
    ("setAcl /ROOT/mine digest:bob:HJOLKaCJkAQC5uYhylpA+72TQjU=:r", ""),
    ("getAcl /ROOT/mine", ""),
    ("get /ROOT/mine", ""),
    ("delete /ROOT/mine", ""),
    ("sync /ROOT", ""),
    ("sync", USAGE),
    ("sync /missing", ""),
    ("version", VERSION),
    ("config", ""),
    ("config -c", ""),
    ("config -s", ""),
    ("config -w", ""),
    ("reconfig -remove 3", ""),
    ("reconfig -add server.5=127.0.0.1:1:2;3", ""),
    ("reconfig", USAGE),
    ("get -w /ROOT/container", ""),
    ("addWatch -m PERSISTENT /ROOT/container", ""),
    ("addWatch -m persistent_recursive /ROOT/ttl", ""),
    ("addWatch -m nonsense /ROOT/ttl", USAGE),
    ("addWatch", USAGE),
    ("create /ROOT/container/one 1", ""),
    ("set /ROOT/container changed", ""),
    ("create /ROOT/ttl/deep", ""),
    ("removewatches -c /ROOT/container", ""),
    ("removewatches -p /ROOT/container", ""),
    ("removewatches -r /ROOT/ttl", ""),
    ("removewatches -a /ROOT/container", ""),
    ("removewatches -d /ROOT/null", ""),
    ("removewatches /nothing", ""),
    ("removewatches", USAGE),
    ("delete /ROOT/container/one", ""),
    ("delete -v 5 /ROOT/null", ""),
    ("delete -v 0 /ROOT/null", ""),
    ("delete /missing", ""),
    ("delete /ROOT/one", ""),
    ("delete", USAGE),
    ("deleteall /ROOT/one", ""),
    ("deleteall /missing", ""),
    ("deleteall -b 2 /ROOT/container", ""),
    ("deleteall", USAGE),
    ("listquota /ROOT", QUOTA),
    ("setquota -n 3 /ROOT/q", ""),
    ("create /ROOT/q 12345", ""),
    ("create /ROOT/q/a 1", ""),
    ("setquota -n 3 /ROOT/q", ""),
    ("listquota /ROOT/q", QUOTA),
    ("setquota -b 20 /ROOT/q", ""),
    ("setquota -N 4 /ROOT/q", ""),
    ("setquota -B 1000 /ROOT/q", ""),
    ("get /zookeeper/quota/ROOT/q/zookeeper_limits", ""),
    ("get /zookeeper/quota/ROOT/q/zookeeper_stats", ""),
    ("setquota -n 1 /ROOT/q", ""),
    ("setquota -b 1 /ROOT/q", ""),
    ("setquota -n 1 /ROOT/q/a", ""),
    ("setquota -n 1 /ROOT", ""),
    ("setquota -n 0 /ROOT/q", ""),
    ("setquota -b -1 /ROOT/q", ""),
    ("setquota -n x /ROOT/q", USAGE),
    ("setquota /ROOT/q", USAGE),
    ("setquota -n 5 /zookeeper/quota/x", ""),
    ("setquota -n 5 -b 3 /ROOT/q", GROUPS),
    ("delquota -n /ROOT/q", ""),
    ("delquota /ROOT/q", ""),
    ("listquota /ROOT/q", QUOTA),
    ("delquota /ROOT/q", ""),
    ("delquota", USAGE),
    ("ls -R /zookeeper", ""),
    ("nonsense", UNKNOWN),
    ("printwatches", ""),
    ("printwatches off", ""),
    ("printwatches", ""),
    ("printwatches on", ""),
    ("redo 99999", ""),
    ("create /ROOT/again-0", ""),
    ("redo 0", ""),
    ("history", ""),
    ("close", ""),
    ("ls /ROOT", ""),
    ("connect", ""),
    ("getEphemerals", ""),
    ("connect HOSTS/ROOT", ""),
    ("ls /q", ""),
    ("connect HOSTS", ""),
    ("deleteall /ROOT", ""),
)
"""What is typed, and why the answers differ; \"\": they are the same."""

SINCE_3_9 = re.compile(r"get -[bx]|set -b|removewatches -[pr]")

COMMANDS = {
    "addauth",
    "addWatch",
    "close",
    "config",
    "connect",
    "create",
    "delete",
    "deleteall",
    "delquota",
    "get",
    "getAcl",
    "getAllChildrenNumber",
    "getEphemerals",
    "history",
    "listquota",
    "ls",
    "printwatches",
    "quit",
    "reconfig",
    "redo",
    "removewatches",
    "set",
    "setAcl",
    "setquota",
    "stat",
    "sync",
    "version",
    "whoami",
}

OUR_SHELL = [sys.executable, "-m", "zoolet.shell"]


class Printed(NamedTuple):
    """What a shell printed.

    Attributes:
        answers: by the number of the line; what the end of a session swallows the marks of stands
            with the next line.
        events: the watch events, which come when they come.
        status: the exit status.
    """

    answers: dict[int, list[str]]
    events: list[str]
    status: int


def test_the_script_has_every_command_of_the_original() -> None:
    typed = {line.split()[0] for line, _ in SCRIPT} | {"quit"}
    assert typed >= COMMANDS


def test_both_print_the_same(tmp_path: Path, apache_jars: Path) -> None:
    with ServerProcess(tmp_path / "zoolet", SETTINGS) as server:
        assert_the_same(server, apache_jars)


def test_both_print_the_same_on_apache(tmp_path: Path, apache_jars: Path) -> None:
    with ApacheServer(tmp_path / "apache", apache_jars, SETTINGS) as server:
        assert_the_same(server, apache_jars)


def test_both_return_the_same(tmp_path: Path, apache_jars: Path) -> None:
    with ServerProcess(tmp_path / "zoolet", SETTINGS) as server:
        for words, status in ((["ls", "/"], 0), (["get", "/missing"], 1), (["nonsense"], 127)):
            for shell in (java_shell(apache_jars), OUR_SHELL):
                command = [*shell, "-server", server.hosts, *words]
                completed = subprocess.run(command, capture_output=True, timeout=240, check=False)
                assert completed.returncode == status, (shell, words)


def assert_the_same(server: ExternalServer, jars: Path) -> None:
    """Run the script in both shells, each in a subtree of its own, and compare."""
    has_all = release_of(jars) >= (3, 9)
    script = [step for step in SCRIPT if has_all or not SINCE_3_9.match(step[0])]
    lines = [line for line, _ in script]
    theirs = run(java_shell(jars), server.hosts, "java", lines)
    ours = run(OUR_SHELL, server.hosts, "ours", lines)
    assert ours.answers.keys() == theirs.answers.keys()
    for number, actual in ours.answers.items():
        line, reason = script[number]
        expected = theirs.answers[number]
        if reason:
            assert actual != expected, f"{line}: no difference any more"
            assert reason in PAGE, f"docs/shell.md does not say: {reason}"
        else:
            assert actual == expected, line
    assert ours.events == theirs.events
    assert ours.events
    assert (ours.status, theirs.status) == (0, 0)


def java_shell(jars: Path) -> list[str]:
    main = "org.apache.zookeeper.ZooKeeperMain"
    return ["java", *QUICK_START, "-cp", f"{jars}/*", main, "-waitforconnection"]


def run(shell: list[str], hosts: str, root: str, lines: list[str]) -> Printed:
    """Type the lines, and after each one something that marks the end of its answer."""
    typed = "".join(f"{line}\nstat /mark-{number}\n" for number, line in enumerate(lines))
    typed = typed.replace("HOSTS", hosts).replace("ROOT", root)
    completed = subprocess.run(
        [*shell, "-server", hosts],
        input=f"{typed}ls /zookeeper\nquit\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    printed = completed.stdout.replace(hosts, "HOSTS").replace(root, "ROOT")
    return taken_apart(printed, lines, completed.returncode)


def taken_apart(printed: str, lines: list[str], status: int) -> Printed:
    kept = re.sub(r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d \w+ \d{4}", "DATE", printed)
    kept = re.sub(r"Zxid = 0x[0-9a-f]+", "Zxid = ZXID", kept)
    kept = re.sub(r" zxid: -?\d+", "", kept)
    answers: dict[int, list[str]] = {}
    events: list[str] = []
    answer: list[str] = []
    for prompted in kept.splitlines():
        line = re.sub(r"^\[zk: HOSTS\S*\(\w+\) \d+\] ", "", prompted)
        mark = re.fullmatch(r"Node does not exist: /mark-(\d+)", line)
        if mark is not None:
            number = int(mark[1])
            answers[number] = sorted_where_a_set(lines[number], answer)
            answer = []
        elif line.startswith("WatchedEvent"):
            # Apache ZooKeeper tells of its sessions too.
            events += [] if "type:None" in line else [line]
        elif line.strip() and not re.search("WATCHER::|SLF4J|log4j|JLine|DEBUG|INFO", line):
            answer.append(line)
    return Printed(answers, sorted(events), status)


def sorted_where_a_set(line: str, answer: list[str]) -> list[str]:
    """Return an answer; what Apache ZooKeeper keeps in hash sets has no order of its own."""
    if line.startswith("getEphemerals"):
        return [str(sorted(names[1:-1].split(", "))) for names in answer]
    return sorted(answer) if line.startswith(("whoami", "getAcl")) else answer
