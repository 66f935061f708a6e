"""docs/shell.md describes each command of the shell."""

import re
from pathlib import Path

from zoolet.shell import commands  # noqa: F401 -- fills the table
from zoolet.shell.commands.registry import COMMANDS

PAGE = Path(__file__).parents[3] / "docs" / "shell.md"


def test_the_page_has_each_command() -> None:
    code = re.findall(r"`([^`\n]+)`", PAGE.read_text())
    assert COMMANDS.keys() - {text.split()[0] for text in code} == set()
