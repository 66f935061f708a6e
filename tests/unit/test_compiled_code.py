"""No compiled module has code that mypyc compiles with another meaning.

- A call in the bound of a slice: mypyc may evaluate the bound twice. Calls that have no effect,
  such as `len`, are allowed.
- Two errors of different types with the same name in one function: mypyc gives a name one type, and
  raises TypeError when the second error comes.

docs/decisions/0008-mypyc.md has the reasons.
"""

import ast
import re
import subprocess
from pathlib import Path

import zoolet

PACKAGE = Path(zoolet.__file__).parent
ROOT = Path(__file__).parents[2]
LIST = ROOT / "compiled.txt"
WITHOUT_EFFECT = {"len", "min", "max", "int", "find", "rfind", "index"}


def compiled_sources() -> list[Path]:
    wanted: set[Path] = set()
    for line in LIST.read_text().splitlines():
        pattern = line.strip()
        if pattern.startswith("!"):
            wanted -= set(PACKAGE.glob(pattern[1:]))
        elif pattern and not pattern.startswith("#"):
            wanted |= set(PACKAGE.glob(pattern))
    return sorted(wanted)


def risky_slices(source: str) -> list[str]:
    """Return the slices whose bounds may have an effect."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Slice)
        for bound in (node.lower, node.upper, node.step)
        if bound is not None and any(map(may_have_effect, ast.walk(bound)))
    ]


def may_have_effect(node: ast.AST) -> bool:
    if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield):
        return True
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    return name not in WITHOUT_EFFECT


def test_no_bound_of_a_slice_may_have_an_effect() -> None:
    sources = compiled_sources()
    assert len(sources) > 20
    found = {source.name: risky_slices(source.read_text()) for source in sources}
    assert {name: slices for name, slices in found.items() if slices} == {}


def test_the_check_finds_a_bound_with_an_effect() -> None:
    assert risky_slices("rest = rest[os.write(1, rest) :]") == ["os.write(1, rest):"]
    assert risky_slices("rest = rest[: len(rest) - 1]") == []


def reused_names(source: str) -> list[str]:
    """Return the names that a function gives to errors of different types."""
    found: set[str] = set()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        types: dict[str, str] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                caught = ast.unparse(node.type)
                if types.setdefault(node.name, caught) != caught:
                    found.add(f"{function.name}: {node.name}")
    return sorted(found)


def test_no_function_gives_errors_of_different_types_the_same_name() -> None:
    found = {source.name: reused_names(source.read_text()) for source in compiled_sources()}
    assert {name: reused for name, reused in found.items() if reused} == {}


def test_the_check_finds_a_name_for_two_types_of_errors() -> None:
    caught = "\n  except {} as {}: pass".format
    begin = "def f():\n  try: pass"
    assert reused_names(begin + caught("OSError", "e") + caught("KeyError", "e")) == ["f: e"]
    assert reused_names(begin + caught("OSError", "e") + caught("KeyError", "k")) == []


def test_make_test_pure_runs_what_needs_the_interpreted_sources() -> None:
    made = subprocess.run(
        ["make", "--dry-run", "test-pure"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    folders = [ROOT / path for path in re.findall(r"tests/[\w/.]+", made.stdout)]
    needed = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search("import interpreted_only$", path.read_text(), re.MULTILINE)
    ]
    assert len(needed) >= 4
    assert [path for path in needed if not {path, *path.parents} & set(folders)] == []
    packages = {path.relative_to(PACKAGE).parts[0] for path in compiled_sources()}
    tests = {ROOT / "tests" / "unit" / package for package in packages}
    assert {path for path in tests if path.exists()} <= set(folders)
