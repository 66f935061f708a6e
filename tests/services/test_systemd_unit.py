"""The unit of systemd: valid, hardened, and a server works under its restrictions."""

import ctypes.util
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import sandbox
from tests.support.manifests import ROOT, run
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing import ReservedPort, ServerProcess

UNIT = ROOT / "packaging" / "systemd" / "zoolet.service"
ZOO_CFG = ROOT / "packaging" / "debian" / "zoo.cfg"
SYSUSERS = ROOT / "packaging" / "debian" / "sysusers.conf"
MOST_EXPOSURE = 15
"""In tenths, as ``--threshold`` has it: systemd calls up to 2.0 "OK"."""


def values(key: str) -> list[str]:
    """Return the values of a key of the unit, in their order."""
    lines = [line for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    return [line.partition("=")[2] for line in lines if line.partition("=")[0] == key]


@pytest.fixture
def analyze() -> str:
    """The program that checks units."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: it is in Debian's package systemd")
    return program


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that exists on this machine."""
    (program,) = values("ExecStart")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(program.split()[0], "/bin/true"))
    return copy


def test_systemd_accepts_the_unit(analyze: str, unit: Path) -> None:
    assert run([analyze, "verify", "--man=no", unit]) == ""


def test_an_error_in_the_unit_is_found(analyze: str, unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSystems="))
    assert "ProtectSystems" in run([analyze, "verify", "--man=no", unit])


def test_the_unit_is_hardened(analyze: str, unit: Path) -> None:
    threshold = f"--threshold={MOST_EXPOSURE}"
    run([analyze, "security", "--no-pager", "--offline=true", threshold, unit])
    open_unit = unit.read_text().replace("SystemCallFilter=@system-service\n", "")
    unit.write_text(open_unit.replace("ProtectSystem=strict\n", ""))
    with pytest.raises(AssertionError, match="exposure level"):
        run([analyze, "security", "--no-pager", "--offline=true", threshold, unit])


def test_the_unit_agrees_with_the_other_files() -> None:
    (command,) = values("ExecStart")
    assert command == "/usr/lib/zoolet/bin/zkServer.sh start-foreground /etc/zoolet/zoo.cfg"
    (state,) = values("StateDirectory")
    assert read_config(ZOO_CFG).data_dir == Path("/var/lib") / state
    (user,) = values("User")
    assert SYSUSERS.read_text().splitlines()[-1].split()[:2] == ["u", user]
    assert values("Type") == ["notify"]
    assert (values("WatchdogSec"), values("NotifyAccess")) == (["30"], ["main"])


def test_the_packages_settings_open_no_port_to_other_machines() -> None:
    config = read_config(ZOO_CFG)
    assert config.client_address == "127.0.0.1"
    assert config.admin is not None
    assert config.admin.listener.address == "127.0.0.1"
    assert config.metrics is None


# --- The restrictions


def allowed_calls(analyze: str) -> set[str]:
    """Return the names of the system calls that the unit allows."""

    def named(name: str) -> Iterator[str]:
        if not name.startswith("@"):
            yield name
            return
        for line in run([analyze, "syscall-filter", "--no-pager", name]).splitlines()[1:]:
            if not line.strip().startswith("#") and line.strip():
                yield from named(line.strip())

    allowed = set(named("@default"))
    for value in values("SystemCallFilter"):
        found = {call for name in value.lstrip("~").split() for call in named(name)}
        allowed = allowed - found if value.startswith("~") else allowed | found
    return allowed


class RestrictedServer(ServerProcess):
    """A server with the system calls and the memory rules of the unit."""

    calls: str = ""

    def _command(self) -> Sequence[str]:
        return [sys.executable, sandbox.__file__, self.calls, *super()._command()]


@pytest.fixture
def calls(analyze: str) -> str:
    if ctypes.util.find_library("seccomp") is None:
        pytest.skip("libseccomp is not installed: it is in Debian's package libseccomp2")
    return ",".join(sorted(allowed_calls(analyze)))


def test_a_server_works_with_the_allowed_system_calls(tmp_path: Path, calls: str) -> None:
    metrics = ReservedPort()
    server = RestrictedServer(
        tmp_path,
        {
            "snapCount": 5,
            "autopurge.purgeInterval": 1,
            "metricsProvider.className": (
                "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
            ),
            "metricsProvider.httpHost": "127.0.0.1",
            "metricsProvider.httpPort": metrics.number,
        },
    )
    server.calls = calls
    with server:
        client = server.client()
        client.start(timeout=10)
        for number in range(30):
            client.create(f"/n{number}", b"x" * 1000, ephemeral=number % 2 == 0)
        client.stop()
        client.close()
        for word in ("srvr", "mntr", "conf", "envi", "dirs"):
            assert server.ask(word)
        server.restart()
        assert "Node count: 20" in server.ask("srvr")
        assert server.stop() == 0
    assert "Traceback" not in server.log
    assert "not permitted" not in server.log
    assert len(list((tmp_path / "data" / "version-2").glob("snapshot.*"))) > 1


@pytest.mark.parametrize(
    ("statement", "is_allowed"),
    [
        ("import resource as r; r.setrlimit(r.RLIMIT_NOFILE, r.getrlimit(r.RLIMIT_NOFILE))", True),
        ("import os; os.chroot('/')", False),
        ("import os; os.setpriority(os.PRIO_PROCESS, 0, 5)", False),
        ("import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)", True),
        ("import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)", False),
    ],
)
def test_the_restrictions_are_those_of_the_unit(
    calls: str, statement: str, is_allowed: bool
) -> None:
    command = [sys.executable, sandbox.__file__, calls, sys.executable, "-c", statement]
    if is_allowed:
        run(command)
    else:
        with pytest.raises(AssertionError, match="PermissionError"):
            run(command)
