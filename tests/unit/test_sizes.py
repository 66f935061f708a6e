"""No file and no function is too long to be read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = 500
MOST_LINES_OF_FUNCTION = 60


def sources() -> Iterator[tuple[str, str]]:
    """Yield the names and the texts of all sources."""
    for folder in ("src", "tests"):
        for source in sorted((ROOT / folder).rglob("*.py")):
            yield source.relative_to(ROOT).as_posix(), source.read_text()


def test_no_file_is_too_long() -> None:
    long = {name for name, text in sources() if text.count("\n") > MOST_LINES}
    assert long == set()


def test_no_function_is_too_long() -> None:
    long = {
        f"{name}: {node.name}"
        for name, text in sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MOST_LINES_OF_FUNCTION
    }
    assert long == set()
