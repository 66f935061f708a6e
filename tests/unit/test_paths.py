"""The three paths that ARCHITECTURE.md describes: every module and function of them is there."""

import ast
import re
from pathlib import Path

import pytest

import zoolet

PACKAGE = Path(zoolet.__file__).parent
PAGE = Path(__file__).parents[2] / "ARCHITECTURE.md"
MOST_STEPS = 8

PATH = re.compile(r"^\*\*(A [^*]+)\*\*\n\n((?:\d\. .*\n(?:   .*\n)*)+)", re.MULTILINE)
STEP = re.compile(r"^\d\. `([a-z_/]+\.py)`: `([a-z_]+)`", re.MULTILINE)


def steps() -> dict[str, list[tuple[str, str]]]:
    """Return the module and the function of each step, by the name of the path."""
    return {name: STEP.findall(text) for name, text in PATH.findall(PAGE.read_text())}


def functions_of(module: str) -> set[str]:
    tree = ast.parse((PACKAGE / module).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_page_has_the_three_paths() -> None:
    assert sorted(steps()) == ["A create", "A getData", "A job"]


@pytest.mark.parametrize("name", steps())
def test_a_path_is_short_and_comes_through_no_module_twice(name: str) -> None:
    modules = [module for module, _ in steps()[name]]
    assert 3 < len(modules) <= MOST_STEPS
    assert len(set(modules)) == len(modules)


@pytest.mark.parametrize(
    ("module", "function"), sorted({step for path in steps().values() for step in path})
)
def test_every_function_of_a_path_is_there(module: str, function: str) -> None:
    assert function in functions_of(module)
