"""Measure what zoolet costs: wheels, installed sizes, and times to install, import and start.

Usage: ``python -m release.sizes`` (``make sizes``), after ``make wheels``. Each installation has a
new virtual environment, without pip and setuptools. Apache ZooKeeper's figures are of the same run.
"""

import compileall
import gzip
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from release.version import ROOT, read_version
from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import DEBIAN_JARS

DIST = ROOT / "dist"
ROUNDS = 5
FIXTURES = "zoolet-core[testing]"
INSTALLATIONS = (
    FIXTURES,
    "zoolet",
    "zoolet[jobs]",
    "zoolet[testing]",
    "zoolet[jobs,postgresql]",
    "zoolet[opentelemetry]",
)
IMPORTS = ("zoolet", "zoolet.client", "zoolet.jobs", "zoolet.testing", "kazoo.client")
IMAGE = ROOT / "build" / "container" / "zoolet.tar"
APACHE_PACKAGES = ("libzookeeper-java", "default-jre-headless")
"""Debian's packages of Apache ZooKeeper with a Java."""
_KB, _MB = 1000, 1_000_000


class InstalledServer(ServerProcess):
    """A server of an installation in a virtual environment."""

    def __init__(self, directory: Path, python: Path) -> None:
        super().__init__(directory)
        self._python = python

    def _command(self) -> Sequence[str]:
        _, *arguments = super()._command()
        return [str(self._python), *arguments]


def wheel_of(name: str) -> Path:
    """Return the newest wheel of a distribution for this Python."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    found = [
        wheel
        for wheel in DIST.glob(f"{name.replace('-', '_')}-{read_version()}-*.whl")
        if tag in wheel.name or "none-any" in wheel.name
    ]
    if not found:
        sys.exit(f"There is no wheel of {name} in {DIST}. Run: make wheels")
    return max(found, key=lambda wheel: wheel.stat().st_mtime)


def install(directory: Path, requirement: str) -> float:
    """Install a requirement into a new virtual environment; return the time of pip, in seconds."""
    venv.create(directory, with_pip=False)
    name, bracket, extras = requirement.partition("[")
    wheels = [str(wheel_of("zoolet-core"))]
    wheels += [str(wheel_of("zoolet"))] if name == "zoolet" else []
    wheels[-1] += bracket + extras
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check",
         "--python", directory, "install", *wheels],
        check=True,
    )  # fmt: skip
    return time.monotonic() - began


def installed_bytes(directory: Path) -> int:
    """Return the size of the installed packages, with their compiled bytecode."""
    (packages,) = directory.glob("lib/python*/site-packages")
    compileall.compile_dir(packages, quiet=2)
    return sum(file.stat().st_size for file in packages.rglob("*") if file.is_file())


def import_s(python: Path, module: str) -> float:
    """Return the processor time of a process that imports a module, less that of an empty one."""
    return max(0.0, _run_s(python, f"import {module}") - _run_s(python, "pass"))


def _run_s(python: Path, program: str) -> float:
    timed = f"import time\n{program}\nprint(time.process_time())"
    found = [
        float(subprocess.run([python, "-I", "-c", timed], check=True, capture_output=True).stdout)
        for _ in range(ROUNDS)
    ]
    return statistics.median(found)


def start_s(server: ServerProcess | ApacheServer) -> float:
    """Return the time from the start of a server's process until it serves, in seconds."""
    began = time.monotonic()
    with server:
        return time.monotonic() - began


def apache_bytes() -> tuple[str, int]:
    """Return the version of Debian's Apache ZooKeeper, and its size with all dependencies.

    The installed dependencies count, except those that each Debian system has.
    """
    depends = _output(
        *("apt-cache", "depends", "--recurse", "--installed", "--important"), *APACHE_PACKAGES
    )
    needed = {line for line in depends.splitlines() if line[:1].isalnum()}
    shown = _output(
        "dpkg-query", "--show", "--showformat",
        "${Package} ${Version} ${Priority} ${Installed-Size}\\n",
    )  # fmt: skip
    version, size_kib = "", 0
    for line in shown.splitlines():
        package, its_version, priority, its_size_kib = line.split(" ")
        if package == APACHE_PACKAGES[0]:
            version = its_version
        if package in needed and priority not in {"required", "important"}:
            size_kib += int(its_size_kib or 0)
    return version, size_kib * 1024


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _installations(table: Table, scratch: Path) -> Path:
    """Add a row for each installation; return the Python of the last one."""
    with_pytest = scratch / "pytest"
    venv.create(with_pytest, with_pip=False)
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check",
         "--python", with_pytest, "install", "pytest"],
        check=True,
    )  # fmt: skip
    pytest_bytes = installed_bytes(with_pytest)
    directory = scratch
    for number, requirement in enumerate(INSTALLATIONS):
        directory = scratch / str(number)
        taken_s = install(directory, requirement)
        size_bytes = installed_bytes(directory)
        note = ""
        if "testing" in requirement:
            note = f"; {(size_bytes - pytest_bytes) / _MB:.1f} MB without pytest"
        table.add_row(
            escape(f"pip install {requirement}"),
            f"{size_bytes / _MB:.1f} MB in {taken_s:.1f} s{note}",
        )
    return directory / "bin" / "python"


def main() -> None:
    """Measure and print."""
    table = Table("", "", title=f"zoolet {read_version()}, Python {sys.version.split()[0]}")
    for name in ("zoolet-core", "zoolet"):
        wheel = wheel_of(name)
        table.add_row(wheel.name, f"{wheel.stat().st_size / _KB:,.0f} KB")
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        python = _installations(table, scratch)
        for module in IMPORTS:
            table.add_row(f"import {module}", f"{import_s(python, module) * 1000:.0f} ms")
        ours, theirs = [], []
        for number in range(ROUNDS):
            ours.append(start_s(InstalledServer(scratch / f"ours{number}", python)))
            theirs.append(start_s(ApacheServer(scratch / f"theirs{number}", DEBIAN_JARS)))
        table.add_row("start of a server", f"{statistics.median(ours) * 1000:.0f} ms")
        table.add_row("start of Apache ZooKeeper", f"{statistics.median(theirs) * 1000:.0f} ms")
    version, size_bytes = apache_bytes()
    packages = " and ".join(APACHE_PACKAGES)
    table.add_row(
        f"Apache ZooKeeper {version}: Debian's {packages}",
        f"{size_bytes / _MB:.0f} MB installed, with dependencies",
    )
    if IMAGE.exists():
        compressed = len(gzip.compress(IMAGE.read_bytes())) / _MB
        table.add_row("container image (make image)", f"{compressed:.1f} MB, gzip")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
