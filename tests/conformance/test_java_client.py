"""Apache's own Java shell, zkCli, prints the same on zoolet as on Apache ZooKeeper."""

import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.apache import require_apache
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS

SCRIPT = """
version
whoami
ls /
create /a first
create /a again
create -s /a/s- one
create -s /a/s- two
create -e /a/e gone
create -e -s /a/e-
create -c /container
create -t 100000 /ttl data
create /a/e/child
create /missing/child
create /null
create //bad
create /b data world:anyone:r
get /a
get -s /a
get /missing
set /a second
set -s /a third
set -v 7 /a fourth
set -v 2 /a fourth
stat /a
stat /missing
ls -s /a
ls -R /a
getAllChildrenNumber /
getEphemerals
getEphemerals /a/e-
getAcl /b
getAcl -s /b
set /b refused
setAcl /a world:anyone:cdrwa
setAcl -v 9 /a world:anyone:r
setAcl -s /a world:anyone:rw
create /a/refused
addauth digest ann:secret
whoami
create /mine secret auth::cdrwa
getAcl /mine
setAcl /mine digest:bob:HJOLKaCJkAQC5uYhylpA+72TQjU=:r
getAcl /mine
get /mine
delete /mine
sync /
ls -w /
get -w /container
stat -w /container
addWatch -m PERSISTENT /container
addWatch /ttl
create /container/one 1
set /container changed
create /ttl/deep
removewatches /container
removewatches /nothing
delete /container/one
delete -v 5 /null
delete /null
delete /missing
deleteall /container
config
reconfig -remove 3
reconfig -add server.5=127.0.0.1:1:2;3
nonsense
history
printwatches off
redo 1
close
ls /
connect
quit
"""

QUOTAS = """
create /q 12345
create /q/a 1
setquota -n 3 -b 20 /q
listquota /q
create /q/b 123456
create /q/c 1
create /q/d 1
listquota /q
set /q 1234567890
listquota /q
get /zookeeper/quota/q/zookeeper_limits
get /zookeeper/quota/q/zookeeper_stats
setquota -n 1 /q/a
delquota -n /q
listquota /q
setquota -N 4 -B 1000 /q
create /q/f 1
create /q/g 1
listquota /q
delquota /q
listquota /q
create /q/h 1
ls -R /zookeeper
quit
"""

SETTINGS = {"tickTime": 2000, "extendedTypesEnabled": "true", "enforceQuota": "true"}


def test_every_command_prints_the_same(tmp_path: Path) -> None:
    assert_the_same(tmp_path, SCRIPT)


def test_quotas_print_the_same(tmp_path: Path) -> None:
    assert_the_same(tmp_path, QUOTAS)


def assert_the_same(directory: Path, script: str) -> None:
    """Run a script on both servers; the shell is Debian's, whatever the server."""
    jars = require_apache(DEBIAN_JARS)
    printed = []
    for server in (
        ApacheServer(directory / "apache", jars, SETTINGS),
        ServerProcess(directory / "zoolet", SETTINGS),
    ):
        with server:
            printed.append(normalised(run_java_shell(jars, server.hosts, script), server.hosts))
    expected, actual = printed
    assert expected[0], "the shell printed nothing"
    assert actual == expected


def run_java_shell(jars: Path, hosts: str, script: str) -> str:
    """Return what zkCli prints, a line of the script before each answer."""
    completed = subprocess.run(
        [
            "java",
            "-cp",
            f"{jars}/*",
            "org.apache.zookeeper.ZooKeeperMain",
            "-server",
            hosts,
            "-waitforconnection",
        ],
        input=script,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    return completed.stdout


def normalised(printed: str, hosts: str) -> tuple[list[str], list[str]]:
    """Return the answers and, apart, the watch events, which come when they come."""
    answers: list[str] = []
    events: list[str] = []
    kept = printed.replace(hosts, "HOSTS")
    kept = re.sub(r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d \w+ \d{4}", "DATE", kept)
    kept = re.sub(r"0x1[0-9a-f]{14}", "SESSION", kept)
    for line in kept.splitlines():
        if not line.strip() or line == "WATCHER::" or re.search("SLF4J|log4j|JLine|DEBUG", line):
            continue
        if "state:Closed" in line:  # printed only if Java's event thread is faster than the exit
            continue
        prompt = re.sub(r"^\[zk: HOSTS\(\w+\) \d+\] ", "", line)
        (events if "WatchedEvent" in prompt else answers).append(prompt)
    return list(_sorted_where_a_set(answers)), sorted(events)


def _sorted_where_a_set(answers: list[str]) -> Iterator[str]:
    """Yield the answers; what Apache ZooKeeper keeps in hash sets has no order of its own."""
    for is_identity, lines in itertools.groupby(answers, _is_identity):
        if is_identity:
            yield from sorted(lines)
            continue
        for line in lines:
            names = re.fullmatch(r"\[(.*)\]", line)
            yield str(sorted(names[1].split(", "))) if names else line


def _is_identity(line: str) -> bool:
    return re.match("(ip|digest): ", line) is not None
