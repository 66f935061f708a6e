"""The import column of the design: who may import whom, read from the sources themselves."""

import ast
from pathlib import Path

import zoolet

PACKAGE = Path(zoolet.__file__).parent

_SERVERS = ("model", "wire", "core", "storage", "server")

MAY_IMPORT = {
    "model": set[str](),
    "wire": {"model"},
    "core": {"model"},
    "storage": {"model", "wire", "core"},
    "server": {"model", "wire", "core", "storage"},
    "data": {"model", "wire", "core", "storage"},
    "client": {"model"},
    "shell": {"model", "client"},
    "jobs": {"model", "client"},
    "web": {"model", "client"},
    "testing": {
        "model",
        "client",
        "wire",
        "core",
        "storage",
        "server",
        "data",
        "shell",
        "jobs",
        "web",
        "cli",
    },
    "cli": {
        "model",
        "client",
        "wire",
        "core",
        "storage",
        "server",
        "data",
        "shell",
        "jobs",
        "web",
        "testing",
    },
    "__init__": set[str](),
    "__main__": {"cli"},
}

NEVER_IN_CORE = {"asyncio", "socket", "time", "random", "secrets", "os", "threading", "datetime"}


def imported_modules(source: Path) -> set[str]:
    """Return the full names of the modules that ``source`` imports, however deep in a function."""
    found = set[str]()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: imports are written with their full name"
            assert node.module is not None
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources() -> list[tuple[str, Path]]:
    """Return each source file with the package, or top module, that it belongs to."""
    return [
        (source.relative_to(PACKAGE).with_suffix("").parts[0], source)
        for source in sorted(PACKAGE.rglob("*.py"))
    ]


def test_packages_import_only_what_the_design_allows() -> None:
    wrong = []
    for package, source in sources():
        ours = {
            name.split(".")[1] for name in imported_modules(source) if name.startswith("zoolet.")
        } - {"__version__"}
        wrong += [
            f"{source.relative_to(PACKAGE)} imports zoolet.{other}"
            for other in ours - MAY_IMPORT[package] - {package}
        ]
    assert wrong == []


def test_core_knows_no_clock_no_input_and_no_chance() -> None:
    wrong = [
        f"{source.relative_to(PACKAGE)} imports {name}"
        for package, source in sources()
        if package in {"core", "model", "wire"}
        for name in imported_modules(source) & NEVER_IN_CORE
    ]
    assert wrong == []
