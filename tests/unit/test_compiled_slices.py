"""No compiled module has a call in the bound of a slice: mypyc may evaluate the bound twice.

docs/decisions/0008-mypyc.md has the reason. Calls that have no effect, such as `len`, are allowed.
"""

import ast
from pathlib import Path

import zoolet

PACKAGE = Path(zoolet.__file__).parent
LIST = Path(__file__).parents[2] / "compiled.txt"
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
