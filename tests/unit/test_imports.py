"""Who may import whom: the tables of ARCHITECTURE.md, compared with the sources themselves.

Imports inside functions and under TYPE_CHECKING count like any other.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import zoolet

PACKAGE = Path(zoolet.__file__).parent
PAGE = Path(__file__).parents[2] / "ARCHITECTURE.md"
TESTS = Path(__file__).parent

ROW = re.compile(r"^\| `([a-z_/]+?)/?` \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
EVERYBODY_MAY = {"__init__"}
"""The version of zoolet is in the package itself."""
NEVER_IN_CORE = {"asyncio", "socket", "time", "random", "secrets", "os", "threading", "datetime"}


@cache
def allowed_imports() -> Mapping[str, frozenset[str]]:
    """Return what each package and sub-package may import, as the page says."""
    found = {}
    for name, imports in ROW.findall(PAGE.read_text()):
        words = frozenset(imports.split(", "))
        found[name] = frozenset() if words == {"nothing of ours"} else words
    return found | {"__main__": frozenset({"entry"}), "__init__": frozenset()}


def unit_of(name: str) -> str:
    """Return the row of the page to which a module belongs, given with slashes."""
    candidates = [unit for unit in allowed_imports() if is_below(name, unit)]
    assert candidates, f"{name} is in no row of {PAGE.name}"
    return max(candidates, key=len)


@cache
def modules() -> Mapping[str, Path]:
    """Return the sources by the names of their modules."""
    return {
        ".".join(("zoolet", *source.relative_to(PACKAGE).with_suffix("").parts)): source
        for source in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def imported_modules(source: Path) -> frozenset[str]:
    """Return the full names of the modules that ``source`` imports, however deep in a function."""
    found = set[str]()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: imports are written with their full name"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = name in modules() or f"{name}.__init__" in modules()
                found.add(name if is_module else node.module)
    return frozenset(found)


def own_imports(source: Path) -> Iterator[str]:
    """Yield the names of our own modules that ``source`` imports, as `modules` has them."""
    for name in imported_modules(source):
        if name == "zoolet" or name.startswith("zoolet."):
            yield name if name in modules() else f"{name}.__init__"


def imports_kazoo(source: Path) -> bool:
    """Say whether ``source`` imports anything of kazoo."""
    return any(name.split(".")[0] == "kazoo" for name in imported_modules(source))


def is_below(unit: str, name: str) -> bool:
    """Say whether a row of the page is ``name``, or one of its sub-packages."""
    return f"{unit}/".startswith(f"{name}/")


def with_slashes(module: str) -> str:
    """Return the name of one of our modules as the page writes it."""
    return "/".join(module.split(".")[1:]).removesuffix("/__init__")


def test_the_page_has_a_row_for_each_folder() -> None:
    rows = {unit for unit in allowed_imports() if not unit.startswith("__")}
    folders = {source.parent.relative_to(PACKAGE).as_posix() for source in PACKAGE.rglob("*.py")}
    assert {unit for unit in rows - folders if not (PACKAGE / f"{unit}.py").is_file()} == set()
    assert folders - rows == {".", "shell/commands"}


def test_packages_import_only_what_the_page_allows() -> None:
    wrong = []
    for module, source in modules().items():
        unit = unit_of(with_slashes(module))
        allowed = allowed_imports()[unit]
        if "all" in allowed:
            continue
        for imported in own_imports(source):
            other = unit_of(with_slashes(imported))
            is_allowed = any(is_below(other, name) for name in allowed)
            if other not in EVERYBODY_MAY | {unit} and not is_allowed:
                wrong.append(f"{module} imports {imported}")
        if "kazoo" not in allowed and imports_kazoo(source):
            wrong.append(f"{module} imports kazoo")
    assert wrong == []


def test_the_web_page_uses_only_the_public_names_of_jobs() -> None:
    used = {
        name
        for module, source in modules().items()
        if module.startswith("zoolet.web.")
        for name in own_imports(source)
        if name.startswith("zoolet.jobs.")
    }
    assert used <= {"zoolet.jobs.__init__"}


def test_the_page_allows_nothing_that_no_module_imports() -> None:
    """An import that is allowed for nothing would hide the next mistake."""
    imported: dict[str, set[str]] = {unit: set() for unit in allowed_imports()}
    for module, source in modules().items():
        unit = unit_of(with_slashes(module))
        imported[unit] |= {unit_of(with_slashes(name)) for name in own_imports(source)}
        if imports_kazoo(source):
            imported[unit].add("kazoo")
    unused = [
        f"{unit} may import {name}"
        for unit, allowed in allowed_imports().items()
        for name in allowed - {"all"}
        if not any(is_below(other, name) for other in imported[unit])
    ]
    assert unused == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Nor do packages: the rows of the page, each as one, have an order."""
    graph = {module: set(own_imports(source)) for module, source in modules().items()}
    assert circle_in(graph) == []
    rows: dict[str, set[str]] = {}
    for module, imports in graph.items():
        unit = unit_of(with_slashes(module))
        others = {unit_of(with_slashes(name)) for name in imports}
        rows.setdefault(unit, set()).update(others - {unit})
    assert circle_in(rows) == []


def test_a_circle_is_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert sorted(circle_in({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}})) == ["b", "c", "d"]


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Return what imports itself through others; empty if nothing does."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(dict.fromkeys(error.args[1]))
    return []


def test_core_knows_no_clock_no_input_and_no_chance() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, source in modules().items()
        if with_slashes(module).split("/")[0] in {"state_machine", "model", "wire", "observer"}
        for name in imported_modules(source) & NEVER_IN_CORE
    ]
    assert wrong == []


def test_unit_tests_have_the_folders_of_the_sources() -> None:
    folders = {test.parent.relative_to(TESTS).as_posix() for test in TESTS.rglob("test_*.py")} - {
        "."
    }
    assert [name for name in sorted(folders) if not (PACKAGE / name).is_dir()] == [
        "benchmarks",
        "release",
    ]
