"""The entry point of the container image, as a process: without an image, and without a container.

`make image` checks the same in the root file system of the image.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.container_entry import Image, ask, create, require_namespaces
from tests.support.scripts import TIMEOUT_S
from zoolet.server.cli.container import FALLBACK_NAME, USER_ID, VARIABLES
from zoolet.server.zoo_cfg.properties import parse_properties
from zoolet.storage.files import LOCK_NAME
from zoolet.testing import ReservedPort

HEALTH = "zoolet.server.cli.container_health"
FAKE_SCRIPT = """#!/bin/sh
echo "$(id -u):$(id -g):$(id -G)" "$@"
echo "HOME=$HOME ZOOCFGDIR=$ZOOCFGDIR SERVER_JVMFLAGS=$SERVER_JVMFLAGS"
"""


@pytest.fixture
def image(tmp_path: Path) -> Image:
    require_namespaces()
    return Image(tmp_path)


@pytest.fixture
def shared_image() -> Iterator[Image]:
    """Directories that every user may read: pytest's own are closed to other users."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files to another user")
    root = Path(tempfile.mkdtemp(prefix="zoolet-container-"))
    root.chmod(0o755)
    image = Image(root)
    script = root / "bin" / "zkServer.sh"
    script.write_text(FAKE_SCRIPT)
    script.chmod(0o755)
    yield image
    shutil.rmtree(root)


# --- The server


def test_a_server_serves_stops_and_continues_with_its_data(image: Image) -> None:
    port = ReservedPort()
    for number, sent in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGTERM)):
        with image.started(port.number, ZOO_TICK_TIME=str(1000 + number)) as process:
            # The server is the process that was started: it gets the signals.
            assert int((image.data / LOCK_NAME).read_text()) == process.pid
            assert create(port.number, f"/n{number}") == 0
            assert create(port.number, "/n0") == -110
            process.send_signal(sent)
            assert process.wait(TIMEOUT_S) == 128 + sent
    assert image.log.count("stopped; every acknowledged change is on disk") == 3
    assert (image.data / "myid").read_text() == "1\n"
    assert (image.data / "version-2").is_dir()
    assert list((image.logs / "version-2").glob("log.*"))
    # The first start has written zoo.cfg.
    assert "tickTime=1000\n" in image.zoo_cfg.read_text()
    assert "Traceback" not in image.log


def test_a_mounted_zoo_cfg_is_used_as_it_is(image: Image) -> None:
    port = ReservedPort()
    text = f"dataDir={image.data}\nclientPort={port.number}\nclientPortAddress=127.0.0.1\n"
    text += "admin.enableServer=false\ntickTime=1234\n4lw.commands.whitelist=conf\n"
    image.zoo_cfg.write_text(text)
    image.zoo_cfg.chmod(0o444)
    image.conf.chmod(0o555)
    with image.started(port.number):
        assert "tickTime=1234\n" in ask(port.number, b"conf")
    assert image.zoo_cfg.read_text() == text
    assert not list(image.logs.iterdir())


@pytest.mark.parametrize(
    ("variables", "status", "said"),
    [
        (
            {"ZOO_SERVERS": "server.1=a:2888:3888;2181 server.2=b:2888:3888;2181"},
            2,
            "server.1 sets up an ensemble (2 servers)",
        ),
        ({"ZOO_TICK_TIME": "soon"}, 2, "zoo.cfg:4: tickTime=soon is not a whole number"),
        ({"ZOO_STANDALONE_ENABLED": "false"}, 2, "standaloneEnabled=false is not supported"),
        ({"ZOO_DATA_LOG_DIR": "/dev/null/logs"}, 3, "cannot make the directory /dev/null/logs"),
        ({"JVMFLAGS": "-Dzookeeper.maxCnxns='5"}, 1, "JVMFLAGS cannot be read"),
        ({"ZOO_DATA_DIR": "/nowhere"}, 1, "ZOO_DATA_DIR is /nowhere, which is no directory"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_refused_start_has_apaches_exit_status(
    image: Image, variables: dict[str, str], status: int, said: str
) -> None:
    done = image.run("zkServer.sh", "start-foreground", variables=variables)
    assert (done.returncode, said in done.stderr) == (status, True), done
    assert "Traceback" not in done.stderr


def test_flags_are_settings_and_others_are_named(image: Image) -> None:
    port = ReservedPort()
    flags = "-Xmx3g -Dzookeeper.4lw.commands.whitelist=conf"
    with image.started(port.number, SERVER_JVMFLAGS=flags, ZK_SERVER_HEAP="900"):
        assert f"clientPort={port.number}\n" in ask(port.number, b"conf")
        assert "not in the whitelist" in ask(port.number, b"srvr")
    assert "the JVM flag -Xmx3g is ignored" in image.log
    assert "ZK_SERVER_HEAP is ignored" in image.log
    assert "serverAddress" not in image.log


def test_a_read_only_root_file_system(image: Image) -> None:
    """Only the volumes and TMPDIR can be written; the health check finds zoo.cfg there."""
    image.conf.chmod(0o555)
    for path in (image.root, image.root / "bin"):
        path.chmod(0o555)
    port = ReservedPort()
    try:
        with image.started(port.number):
            assert create(port.number, "/a") == 0
            path = image.root / "tmp" / FALLBACK_NAME / "zoo.cfg"
            assert f"so zoo.cfg is {path}" in image.log
            checked = image.run(module=HEALTH)
            assert (checked.returncode, checked.stdout) == (0, "healthy\n")
    finally:
        image.root.chmod(0o755)
    assert not list(image.conf.iterdir())


# --- The health check


def test_a_server_is_healthy_with_any_whitelist(image: Image) -> None:
    port = ReservedPort()
    with image.started(port.number, ZOO_4LW_COMMANDS_WHITELIST="ruok"):
        checked = image.run(module=HEALTH)
        assert (checked.returncode, checked.stdout) == (0, "healthy\n")
        checked = image.run(str(image.zoo_cfg), module=HEALTH, variables={"ZOO_CONF_DIR": "/no"})
        assert (checked.returncode, checked.stdout) == (0, "healthy\n")
    checked = image.run(module=HEALTH)
    assert (checked.returncode, "Connection refused" in checked.stdout) == (1, True), checked


def test_an_accept_without_an_answer_is_not_healthy(image: Image) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        image.zoo_cfg.write_text(f"dataDir=/d\nclientPort={port}\nclientPortAddress=127.0.0.1\n")
        with subprocess.Popen(
            [sys.executable, "-m", HEALTH], env=image.variables, stdout=subprocess.PIPE, text=True
        ) as process:
            accepted, _ = listening.accept()
            accepted.recv(4)
            accepted.close()
            output, _ = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, "closed the connection without an answer" in output) == (1, True)


def test_no_zoo_cfg_is_not_healthy(image: Image) -> None:
    checked = image.run(module=HEALTH)
    assert (checked.returncode, "the file does not exist" in checked.stdout) == (1, True)


# --- Other commands


@pytest.mark.parametrize(
    ("command", "status", "printed"),
    [
        (["sh", "-c", 'echo "$ZOOCFGDIR $0 $1"; exit 7', "a b", "c"], 7, "{conf} a b c\n"),
        (["zkServer.sh", "version"], 0, "zoolet, version"),
        (["no-such-program"], 127, "no-such-program cannot be executed: No such file"),
        (["/dev/null"], 126, "/dev/null cannot be executed: Permission denied"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_another_command_is_executed_as_given(
    image: Image, command: list[str], status: int, printed: str
) -> None:
    done = image.run(*command)
    output = done.stdout + done.stderr
    expected = printed.replace("{conf}", str(image.conf))
    assert (done.returncode, expected in output) == (status, True), done
    assert image.zoo_cfg.exists()


def test_another_command_does_not_need_the_directories(image: Image) -> None:
    done = image.run("echo", "here", variables={"ZOO_DATA_DIR": "/nowhere"})
    assert (done.returncode, done.stdout) == (0, "here\n")
    assert "which is no directory" in done.stderr


def test_without_a_command_the_server_is_started(image: Image) -> None:
    done = image.run(variables={"ZOO_TICK_TIME": "soon"})
    assert (done.returncode, "tickTime=soon" in done.stderr) == (2, True)


# --- Root


def test_root_gives_the_volumes_to_the_user_and_becomes_it(shared_image: Image) -> None:
    image = shared_image
    (image.data / "version-2").mkdir()
    (image.data / "version-2" / "snapshot.0").touch()
    os.chown(image.conf, USER_ID, USER_ID)
    before = ["setpriv", "--groups=0,4,27"] if shutil.which("setpriv") else []
    done = image.run("zkServer.sh", "start-foreground", before=before)
    assert done.returncode == 0, done
    first, second = done.stdout.splitlines()
    assert first == f"{USER_ID}:{USER_ID}:{USER_ID} start-foreground --apache-exit-status"
    assert f"ZOOCFGDIR={image.conf} SERVER_JVMFLAGS=-Dzookeeper.admin" in second
    assert "HOME=/root " not in second
    for path in (image.data, *image.data.rglob("*"), image.logs, image.zoo_cfg):
        assert path.stat().st_uid == USER_ID, path
    assert (image.data / "myid").read_text() == "1\n"
    assert (image.root / "tmp").stat().st_uid == 0


def test_root_stays_root_for_another_command(shared_image: Image) -> None:
    done = shared_image.run("sh", "-c", "id -u", before=[])
    assert (done.returncode, done.stdout) == (0, "0\n"), done
    assert (shared_image.data / "myid").stat().st_uid == 0


@pytest.mark.parametrize("missing", ["chown", "setuid", "setgid"])
def test_root_without_a_capability_starts_no_server(shared_image: Image, missing: str) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("giving up a capability takes setpriv, of util-linux")
    before = ["setpriv", f"--bounding-set=-{missing}"]
    done = shared_image.run("zkServer.sh", "start-foreground", before=before)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "capabilities CHOWN, DAC_OVERRIDE, SETGID and SETUID" in done.stderr


# --- The zoo.cfg of any variables

BLANKS = "".join(map(chr, range(0x21)))
LETTERS = "ab1=:,.;*?[]{}$~`'\"#!/()&|<>\u00fc\u00a0 \t\n\v"


def words(text: str) -> list[str]:
    """Return the words of a text, as a shell splits the value of a variable."""
    found = [""]
    for letter in text:
        if letter in " \t\n":
            found.append("")
        else:
            found[-1] += letter
    return [word for word in found if word]


def modelled(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the keys and values of the zoo.cfg that the official image writes."""
    lines = []
    for name, default, key, is_lines in VARIABLES:
        value = variables.get(name) or default
        if is_lines:
            lines += words(value)
        elif key and value:
            lines.append(f"{key}={value}")
    found = {}
    for natural in "\n".join(lines).split("\n"):
        line = natural.lstrip(" \t")
        if line and line[0] not in "#!":
            cut = re.search("[=: \t]", line)
            key = line[: cut.start()] if cut else line
            rest = line[len(key) :].lstrip(" \t")
            rest = rest[1:] if rest.startswith(("=", ":")) else rest
            found[key.strip(BLANKS)] = rest.strip(BLANKS)
    return found


def test_random_variables_give_the_modelled_zoo_cfg(image: Image) -> None:
    """Words, keys and values for 15 random environments; a failure prints the environment."""
    chance = random.Random(20)
    for _ in range(15):
        variables = dict(image.variables)
        for name, *_ in VARIABLES:
            if not name.endswith("_DIR") and chance.random() < 0.7:
                letters = chance.choices(LETTERS, k=chance.randrange(24))
                variables[name] = "".join(letters)
        image.zoo_cfg.unlink(missing_ok=True)
        done = image.run("true", variables=variables)
        assert done.returncode == 0, done
        properties = list(parse_properties(image.zoo_cfg.read_text()))
        written = {key: value for key, value, _ in properties}
        assert written == modelled(variables), variables


def test_the_words_are_those_of_a_shell() -> None:
    """The model above, and so the entry point, splits a variable as ``for word in $X`` does."""
    chance = random.Random(21)
    texts = ["".join(chance.choices(LETTERS + "\r\f\\", k=30)) for _ in range(200)]
    variables = {f"T{number}": text for number, text in enumerate(texts)}
    script = 'set -f; for n in $(seq 0 199); do eval "v=\\$T$n"; for w in $v; do'
    script += " printf '%s\\0' \"$w\"; done; printf '\\0'; done"
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        check=True,
        timeout=TIMEOUT_S,
        env={"PATH": os.environ["PATH"], **variables},
    )
    printed = done.stdout.decode().split("\0")
    for text in texts:
        expected = words(text)
        assert printed[: len(expected) + 1] == [*expected, ""], text
        del printed[: len(expected) + 1]
    assert printed == [""]
