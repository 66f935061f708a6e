"""docs/container.md has each variable and each message of the container's entry point."""

import ast
import re
from pathlib import Path

from tests.unit.test_operating_page import key_of, plain
from zoolet.server.cli import container
from zoolet.server.cli.container import VARIABLES

PAGE = Path(__file__).parents[2] / "docs" / "container.md"
ROW = re.compile(r"^\| `(ZOO_\w+)` \|([^|]*)\|([^|]*)\| [^|]+ \|$", re.MULTILINE)


def test_the_table_has_each_variable_with_its_default_and_key() -> None:
    page = PAGE.read_text()
    rows = [
        (name, default.strip(" `"), key.strip(" `")) for name, default, key in ROW.findall(page)
    ]
    assert rows == [(v.name, v.default, v.key) for v in VARIABLES]


def test_each_message_is_on_the_page() -> None:
    page = plain(PAGE.read_text())
    keys = messages()
    assert len(keys) == 6
    assert [key for key in keys if plain(key) not in page] == []


def messages() -> list[str]:
    """Return the key of the text of each EntryError."""
    tree = ast.parse(Path(container.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [key_of(call) for call in calls if getattr(call.func, "id", "") == "EntryError"]
