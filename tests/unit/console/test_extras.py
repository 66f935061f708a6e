"""A command whose package is missing names the extra; the table agrees with pyproject.toml."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from zoolet.console.extras import DISTRIBUTIONS, EXTRAS, advice

ROOT = Path(__file__).parents[3]
HIDING = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
sys.argv[0] = "zoolet"
import importlib.util
original = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in {hidden!r} else original(name)
"""


def run_without(hidden: set[str], program: str, *arguments: str) -> tuple[int, str]:
    """Run a program that does not find some packages; return its exit status and all output."""
    completed = subprocess.run(
        [sys.executable, "-c", HIDING.format(hidden=hidden) + program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return completed.returncode, completed.stdout


COMMANDS = [
    ("rich", "from zoolet.cli import zk_cli as main; main()", ["-server", "127.0.0.1:1", "ls"]),
    ("rich", "from zoolet.cli import main; main()", ["data", "check", "/none"]),
    ("rich", "from zoolet.cli import zk_cleanup as main; main()", ["-n", "3"]),
    ("sqlalchemy", "from zoolet.cli import main; main()", ["jobs", "list"]),
    ("sqlalchemy", "from zoolet.cli import main; main()", ["worker", "--queue", "/q"]),
    ("sqlalchemy", "from zoolet.cli import main; main()", ["worker", "--help"]),
    ("starlette", "from zoolet.cli import main; main()", ["web", "--server", "a=127.0.0.1:1"]),
    ("uvicorn", "from zoolet.cli import main; main()", ["web-user", "ann"]),
]


@pytest.mark.parametrize(("package", "program", "arguments"), COMMANDS)
def test_a_command_names_what_is_missing(package: str, program: str, arguments: list[str]) -> None:
    status, output = run_without({package}, program, *arguments)
    assert (status, output) == (1, f"zoolet: {advice(package)}\n")


def test_help_says_which_commands_are_not_available() -> None:
    status, output = run_without(set(EXTRAS), "from zoolet.cli import main; main()", "--help")
    assert status == 0
    for command in ("data", "jobs", "worker"):
        assert re.search(rf"^  {command} +Not available: ", output, re.MULTILINE)
    assert re.search(r"^  server +Start, stop", output, re.MULTILINE)


def test_what_needs_no_extra_works_without_all_of_them() -> None:
    program = """
import zoolet.client, zoolet.jobs
from zoolet.jobs import Dispatcher, JobQueue, Worker
from zoolet.testing import EmbeddedServer
with EmbeddedServer() as server:
    print(server.hosts)
"""
    status, output = run_without({*EXTRAS, "uvloop"}, program)
    assert (status, output.count(":")) == (0, 1), output


def test_a_large_result_without_the_library_is_refused() -> None:
    program = """
from zoolet.jobs.errors import ResultRefusedError
from zoolet.jobs.results.store import ResultStore
try:
    ResultStore("sqlite:///x.db")
except ResultRefusedError as error:
    print(error)
"""
    status, output = run_without({"sqlalchemy"}, program)
    assert (status, output) == (0, f"large results cannot be stored: {advice('sqlalchemy')}\n")


@pytest.mark.parametrize("package", ["zoolet.client.opentelemetry", "zoolet.jobs.telemetry"])
def test_the_packages_for_opentelemetry_name_what_is_missing(package: str) -> None:
    program = f"""
try:
    import {package}
except ImportError as error:
    print(error)
"""
    status, output = run_without({"opentelemetry"}, program)
    assert (status, output) == (0, f"{advice('opentelemetry')}\n")


def test_the_table_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for package, extra in EXTRAS.items():
        names = {re.split(r"[\[<>=; ]", requirement)[0] for requirement in extras[extra]}
        assert DISTRIBUTIONS.get(package, package) in names, (package, extra)
    core = {re.split(r"[\[<>=; ]", requirement)[0] for requirement in project["dependencies"]}
    assert not core & set(EXTRAS)
