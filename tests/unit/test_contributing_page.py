"""CONTRIBUTING.md names files, tables and targets that exist, and its lists lack no file."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", TEXT) + re.findall(r"^    (\S.*)$", TEXT, re.MULTILINE)


class Row(NamedTuple):
    """A row of a list of files."""

    section: str
    path: str
    change: str


def rows() -> Iterator[Row]:
    section = ""
    for line in TEXT.splitlines():
        if line.startswith("### "):
            section = line.removeprefix("### ")
        elif (match := re.match(r"\| `([^`]+)` \| (.*) \|$", line)) is not None:
            yield Row(section, match[1], match[2])


ROWS = list(rows())


def test_each_path_exists() -> None:
    paths = [
        found
        for code in CODE
        for word in code.split()
        for found in re.findall(r"^(?:src|tests|docs|examples|benchmarks)/[\w./-]*$", word)
    ]
    assert len(paths) > 50
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert len({row.section for row in ROWS}) == 5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_each_name_is_in_the_file_of_its_row(row: Row) -> None:
    source = (ROOT / row.path).read_text()
    names = re.findall(r"`(\w+)`", row.change)
    others = {"Taker"}  # the row names the other file too
    assert [name for name in names if name not in others and name not in source] == []


def test_each_target_of_the_page_and_of_the_workflows_is_in_the_makefile() -> None:
    workflow = "".join(path.read_text() for path in ROOT.glob(".github/workflows/*.yml"))
    commands = [*CODE, *re.findall(r"run: (make .*)$", workflow, re.MULTILINE)]
    commands = [command.replace('"test-$BUILD"', "test-pure") for command in commands]
    targets = {
        match[1] for command in commands if (match := re.match(r"make ([a-z-]+)( |$)", command))
    }
    assert targets >= {"setup", "check", "test", "format", "lock", "test-pure", "test-wheel"}
    makefile = (ROOT / "Makefile").read_text()
    helped = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    assert targets - helped == set()


def test_what_make_check_leaves_out_exists() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    [left_out] = re.findall(r"^SLOW_UNIT_TESTS := (.*)$", makefile, re.MULTILINE)
    for entry in left_out.split():
        path, _, name = entry.partition("::")
        assert (ROOT / "tests/unit" / path).exists()
        assert not name or f"def {name}(" in (ROOT / "tests/unit" / path).read_text()


EXAMPLES = {
    "A four-letter word": (r"\bwchp\b", ("src", "docs", "tests/conformance")),
    "A shell command": (r"\bgetEphemerals\b", ("src/zoolet/shell", "docs/shell.md")),
    "A request": (r"\b(GET_ALL_CHILDREN_NUMBER|GetAllChildrenNumber)\b", ("src",)),
    "A job transition": (r"\bEvent\.NO_TASK\b", ("src", "tests")),
}
"""Something that the lists are about: where it stands, and below which folders to look."""

OTHER_FILES = {"docs/decisions", "docs/performance.md", "tests/conformance/test_java_client.py"}


@pytest.mark.parametrize("section", EXAMPLES)
def test_a_list_has_each_file_that_an_existing_example_is_in(section: str) -> None:
    pattern, folders = EXAMPLES[section]
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("needs a checkout of git")
    named = {row.path for row in ROWS if row.section == section}
    named |= {
        word
        for row in ROWS
        if row.section == section
        for word in re.findall(r"`([^`]+)`", row.change)
    }
    found = {
        path
        for path in listed.stdout.split()
        if (ROOT / path).exists() and re.search(pattern, (ROOT / path).read_text(errors="replace"))
    }
    assert found
    assert {path for path in found - named if not path.startswith(tuple(OTHER_FILES))} == set()
