"""README.md and docs/ work when they are pasted: every code block runs, in an empty directory.

`tests.support.pages` has the rules for the blocks. The pages are pasted word for word, with their
own ports: each run has a network of its own (`tests.support.sealed`). With ``--installed BIN_DIR``
the commands are those of another environment, for example one with the built wheel.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import zoolet
from tests.support.apache import write_apache_script
from tests.support.pages import PAGES, ROOT, SEPARATOR, Page, PageError, missing_line, read_page
from tests.support.sealed import REFUSED
from zoolet.server.zoo_cfg.reading import parse_config

TIMEOUT_S = 200
END_S = 20
"""How long processes that a page has told to end may take."""
PASTED_TWICE = {"README.md", "docs/quickstart.md", "docs/jobs.md"}
"""The quick starts: a reader pastes them again when something went wrong."""
SEALED = ROOT / "tests" / "support" / "sealed.py"
SERVER = """\
zkServer.sh start {directory}/zoo.cfg
{blocks}
zkServer.sh stop {directory}/zoo.cfg
"""
ZOO_CFG = """\
tickTime=2000
dataDir={directory}/data
clientPort=2181
clientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=*
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the pages get a network of their own, which Linux makes"
)


@pytest.fixture
def bin_directory(request: pytest.FixtureRequest) -> Path:
    """The directory with the commands that the pages name: python3, pip, zoolet, zkServer.sh."""
    installed: Path | None = request.config.getoption("--installed")
    return (installed or Path(sys.executable).parent).absolute()


def environment(bin_directory: Path, home: Path) -> dict[str, str]:
    """Return the variables of a user who has just installed zoolet, in a home of their own."""
    ours = Path(sys.executable).parent
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ZOO", "PYTEST_", "SERVER_JVMFLAGS", "JVMFLAGS"))
    }
    if bin_directory != ours:
        variables.pop("PYTHONPATH", None)
        variables.pop("VIRTUAL_ENV", None)
    return variables | {
        "PATH": f"{bin_directory}:{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        # "pip install zoolet" finds that it is installed; it must not look elsewhere for it.
        "PIP_NO_INDEX": "1",
        "PIP_QUIET": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }


def paste(
    page: Page, bin_directory: Path, tmp_path: Path, wait_s: float = END_S
) -> "subprocess.CompletedProcess[str]":
    """Paste the blocks of a page into a shell.

    At the first time, the directory is empty, except for Apache ZooKeeper's script if needed.
    """
    empty, home, server = tmp_path / "empty", tmp_path / "home", tmp_path / "server"
    for directory in (empty, home, server, home / "tmp"):
        directory.mkdir(exist_ok=True)
    script = page.script()
    if page.needs_server:
        (server / "zoo.cfg").write_text(ZOO_CFG.format(directory=server))
        script = SERVER.format(directory=server, blocks=script)
    return subprocess.run(
        [sys.executable, SEALED, str(wait_s), tmp_path, "bash", "-c", script],
        cwd=empty,
        env=environment(bin_directory, home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def failures(page: Page, done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Return what went wrong, with the line of the last block that ran."""
    found = list(page.wrong_outputs(done.stdout))
    if "Traceback" in done.stdout + done.stderr:
        found.append(f"{page.name}: a block printed a traceback")
    if done.returncode:
        line = done.stdout.rpartition(SEPARATOR)[2].partition("\n")[0]
        found.append(f"{page.name}:{line}: exit status {done.returncode}")
    return found


@pytest.mark.timeout(3 * TIMEOUT_S)  # on a busy machine
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_works_when_it_is_pasted(
    path: Path, bin_directory: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    page = read_page(path)
    if page.needs_apache:
        scripts = tmp_path / "empty" / "apache-zookeeper" / "bin"
        write_apache_script(scripts, request.getfixturevalue("apache_jars"))
    for program in page.needed_programs:
        if shutil.which(program) is None:
            pytest.skip(f"{page.name} uses {program}, which is not installed")
    for number in range(1, 1 + bool(page.run_blocks) + (page.name in PASTED_TWICE)):
        done = paste(page, bin_directory, tmp_path)
        if done.returncode == REFUSED:
            pytest.skip("the system allows no namespaces, and the ports 2181, 8080 are in use")
        told = f"run {number}:\n{done.stdout}\n{done.stderr}"
        assert failures(page, done) == [], told


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_parts_of_zoo_cfg_are_valid(path: Path, tmp_path: Path) -> None:
    (tmp_path / "myid").write_text("101\n")
    for block in read_page(path).blocks:
        if block.mark == "part of zoo.cfg":
            text = block.content
            if "dataDir" not in text:
                text += f"dataDir={tmp_path}\nclientPort=2181\n"
            place = Path(f"{path.name}, line {block.line}")
            assert parse_config(text, place).warnings == (), place


def test_the_pages_use_the_chosen_environment(bin_directory: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["python3", "-c", "import zoolet; print(zoolet.__file__)"],
        cwd=tmp_path,
        env=environment(bin_directory, tmp_path),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    is_ours = bin_directory == Path(sys.executable).parent.absolute()
    assert (Path(done.stdout.strip()) == Path(zoolet.__file__)) == is_ours


def test_the_quick_starts_are_run() -> None:
    assert {page.relative_to(ROOT).as_posix() for page in PAGES} > PASTED_TWICE
    for name in PASTED_TWICE:
        assert len(read_page(ROOT / name).run_blocks) > 5, name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\nls\n```\n", "no language"),
        ("```yaml\na: b\n```\n", "is not run"),
        ("Type:\n\n    ls\n", "indented"),
        ("```sh\nls\n", "no end"),
        ("```sh\nls  # lists\n```\n", "a comment"),
        ("<!-- not run -->\n```sh\nls\n```\n", "needs a reason"),
        ("<!-- not run: it is long -->\n\n```sh\nls\n```\n", "directly below"),
        ("<!-- output -->\n```sh\nls\n```\n", "block of text"),
        ("<!-- part of zoo.cfg -->\n```text\na=1\n```\n", "block of ini"),
        ("<!-- not run: it is long -->\n```text\na\n```\n", "never run"),
    ],
)
def test_a_page_that_breaks_a_rule_is_refused(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.pages.ROOT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text(text)
    with pytest.raises(PageError, match=message):
        read_page(path)


FAULTY = """\
```sh
echo one
```
<!-- output -->
```text
{output}
```
```sh
{command}
```
"""


@pytest.mark.parametrize(
    ("output", "command", "message"),
    [
        ("one", "true", None),
        ("o...", "true", None),
        ("two", "true", "page.md:5: the output has no line 'two'"),
        ("one", "false", "page.md:8: exit status 1"),
        ("one", "sleep 1000 &", "page.md:8: exit status 70"),
        ("one", "echo Traceback", "page.md: a block printed a traceback"),
        ("one", f"touch {ROOT}/touched", "page.md:8: exit status 1"),
    ],
)
def test_a_page_that_does_not_work_is_found(
    output: str,
    command: str,
    message: str | None,
    tmp_path: Path,
    bin_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.support.pages.ROOT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text(FAULTY.format(output=output, command=command))
    page = read_page(path)
    done = paste(page, bin_directory, tmp_path, wait_s=0.1)
    assert failures(page, done) == ([] if message is None else [message])


def test_an_output_has_its_lines_in_order() -> None:
    assert missing_line("a\nc", "a\nb\nc") is None
    assert missing_line("c\na", "a\nb\nc") == "a"
    assert missing_line("took ... s", "took 0.12 s") is None
