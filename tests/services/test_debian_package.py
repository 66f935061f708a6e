"""Debian's package: what it contains, what it does when it is installed, removed and purged.

The fast tests build a package around scripts that do nothing. `make deb test-deb` builds the real
one, unpacks it, and starts its server.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.manifests import ROOT, run
from tests.support.notify import ServiceManager
from tests.support.scripts import write_zoo_cfg
from tests.support.waiting import WAIT_S
from zoolet.server.cli.control import ask
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing import ReservedPort

BUILD = ROOT / "packaging" / "debian" / "build.sh"
SCRIPTS = re.findall(
    r'^"?([^"\s]+)"? = "zoolet\.(?:cli|entry):', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
)
VERSION = "1.2.0rc3"


def require(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; the package is built on Debian")


def build(tree: Path, output: Path) -> None:
    environment = {**os.environ, "VERSION": VERSION, "SOURCE_DATE_EPOCH": "1700000000"}
    command: list[str | Path] = [BUILD, "--tree", tree, output]
    subprocess.run(command, check=True, env=environment, timeout=WAIT_S)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose scripts do nothing."""
    require("dpkg-deb", "dpkg-query", "/usr/bin/python3")
    tree = tmp_path_factory.mktemp("tree")
    (tree / "bin").mkdir()
    for name in SCRIPTS:
        (tree / "bin" / name).write_text("#!/bin/sh\n")
    output = tmp_path_factory.mktemp("output")
    build(tree, output)
    (built,) = output.iterdir()
    return built


def test_the_package_says_what_it_is(package: Path) -> None:
    fields = dict(
        line.split(": ", 1)
        for line in run(["dpkg-deb", "--field", package]).splitlines()
        if not line.startswith(" ")
    )
    assert (fields["Package"], fields["Version"]) == ("zoolet", "1.2.0~rc3")
    assert fields["Architecture"] == run(["dpkg", "--print-architecture"]).strip()
    assert re.search(r"\bpython3\.\d+\b.*libc6 \(>= [\d.]+\)", fields["Depends"])
    assert int(fields["Installed-Size"]) > 0


def test_two_builds_are_equal(package: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    run(["dpkg-deb", "--extract", package, tree])
    build(tree / "usr" / "lib" / "zoolet", tmp_path / "again")
    (again,) = (tmp_path / "again").iterdir()
    assert again.read_bytes() == package.read_bytes()


def test_the_package_contains_what_the_service_needs(package: Path, tmp_path: Path) -> None:
    run(["dpkg-deb", "--extract", package, tmp_path])
    unit = (tmp_path / "usr/lib/systemd/system/zoolet.service").read_text()
    (program,) = re.findall(r"^ExecStart=(\S+)", unit, re.MULTILINE)
    assert (tmp_path / program.lstrip("/")).is_file()
    for name in SCRIPTS:
        link = tmp_path / "usr" / "bin" / name
        assert link.is_symlink()
        assert link.resolve() == (tmp_path / "usr/lib/zoolet/bin" / name).resolve()
    assert (tmp_path / "usr/lib/sysusers.d/zoolet.conf").is_file()
    (documentation,) = re.findall(r"^Documentation=file:(\S+)", unit, re.MULTILINE)
    assert (tmp_path / documentation.lstrip("/")).is_file()
    listed = run(["dpkg-deb", "--contents", package]).splitlines()
    assert all(" root/root " in line for line in listed)
    assert run(["dpkg-deb", "--info", package, "conffiles"]) == "/etc/zoolet/zoo.cfg\n"


# --- Installing and removing


class System:
    """A directory into which dpkg installs, with a systemctl that writes down what it gets."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.calls = directory / "systemctl.log"
        self._stubs = directory / "stubs"
        self._stubs.mkdir(parents=True)
        (self._stubs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{self.calls}\n')
        (self._stubs / "systemctl").chmod(0o755)
        for name in ("updates", "info", "triggers"):
            (self.root / "var/lib/dpkg" / name).mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").touch()
        (self.root / "run/systemd/system").mkdir(parents=True)
        (self.root / "etc").mkdir()

    def dpkg(self, *arguments: str | Path) -> str:
        """Run dpkg and return what it printed; the scripts of packages run outside the root."""
        completed = subprocess.run(
            [
                "dpkg",
                f"--root={self.root}",
                "--force-depends,script-chrootless,not-root,bad-path",
                "--log=/dev/null",
                *arguments,
            ],
            env={**os.environ, "PATH": f"{self._stubs}:{os.environ['PATH']}:/usr/sbin:/sbin"},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout

    def take_calls(self) -> list[str]:
        """Return the calls of systemctl since the last time."""
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return calls


@pytest.fixture
def system(tmp_path: Path) -> System:
    require("dpkg", "systemd-sysusers")
    return System(tmp_path)


def test_nothing_is_enabled_and_no_data_is_removed(package: Path, system: System) -> None:
    assert "enable --now zoolet" in system.dpkg("--install", package)
    assert system.take_calls() == ["daemon-reload"]
    (entry,) = re.findall(r"^zoolet:.*$", (system.root / "etc/passwd").read_text(), re.MULTILINE)
    assert entry.endswith(":/var/lib/zoolet:/usr/sbin/nologin")
    data = system.root / "var/lib/zoolet/version-2/log.1"
    data.parent.mkdir(parents=True)
    data.write_text("data")

    system.dpkg("--install", package)
    assert system.take_calls() == ["daemon-reload", "daemon-reload", "try-restart zoolet.service"]

    system.dpkg("--remove", "zoolet")
    assert system.take_calls() == ["disable --now zoolet.service", "daemon-reload"]
    assert not (system.root / "usr/lib/zoolet").exists()
    assert (system.root / "etc/zoolet/zoo.cfg").is_file()

    assert "rm -r /var/lib/zoolet" in system.dpkg("--purge", "zoolet")
    assert not (system.root / "etc/zoolet").exists()
    assert data.read_text() == "data"


def test_an_upgrade_keeps_the_settings_of_the_user(package: Path, system: System) -> None:
    system.dpkg("--install", package)
    settings = system.root / "etc/zoolet/zoo.cfg"
    settings.write_text(settings.read_text().replace("2181", "2182"))
    system.dpkg("--install", package)
    assert "clientPort=2182" in settings.read_text()


# --- The real package


@pytest.fixture
def unpacked(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The content of the package that --deb names."""
    real: Path | None = request.config.getoption("--deb")
    if real is None:
        pytest.skip("no package is named with --deb: run make deb test-deb")
    run(["dpkg-deb", "--extract", real, tmp_path / "root"])
    return tmp_path / "root"


@pytest.fixture
def installed(unpacked: Path) -> Iterator[Path]:
    """The virtual environment of the package, at the place where its scripts expect it."""
    place = Path("/usr/lib/zoolet")
    if place.exists():
        pytest.skip(f"{place} exists on this machine: remove the package zoolet")
    if os.geteuid() != 0:
        pytest.skip(f"only root can make the link {place}")
    place.symlink_to(unpacked / "usr/lib/zoolet")
    yield place
    place.unlink()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    listening = ServiceManager(tmp_path)
    yield listening
    listening.close()


def test_the_server_of_the_package_runs(
    installed: Path, unpacked: Path, tmp_path: Path, manager: ServiceManager
) -> None:
    config = write_zoo_cfg(tmp_path, ReservedPort())
    scripts = unpacked / "usr" / "bin"
    # Without PYTHONPATH, which would name the sources of this checkout.
    clean = ["env", "-i"]
    version = run([*clean, installed / "bin" / "zoolet", "--version"])
    assert "(compiled)" in version, version
    with subprocess.Popen(
        [scripts / "zkServer.sh", "start-foreground", config],
        env={"NOTIFY_SOCKET": manager.variable},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert "(compiled)" in manager.receive()["STATUS"]
        assert "Mode: standalone" in ask(read_config(config), "srvr")
        address = f"127.0.0.1:{read_config(config).client_port}"
        shell: list[str | Path] = [*clean, scripts / "zkCli.sh", "-server", address]
        assert "zookeeper" in run([*shell, "ls", "/"])
        process.terminate()
        _, log = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert "stopped; every acknowledged change is on disk" in log


def test_the_package_has_all_bytecode(unpacked: Path) -> None:
    """The service cannot write it."""
    home = unpacked / "usr/lib/zoolet/lib"
    sources = [path for path in home.rglob("*.py") if "tests" not in path.parts]
    missing = [
        path
        for path in sources
        if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
    ]
    assert len(sources) > 300
    assert missing == []


def test_no_file_of_the_package_has_a_path_of_the_build(unpacked: Path) -> None:
    found = subprocess.run(
        ["grep", "-rlE", "/stage/usr/lib|/tmp/tmp\\.", unpacked / "usr"],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert found.stdout == ""
