"""What is public: the names that the packages in `PUBLIC` list."""

import inspect
import re
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import zoolet.client
import zoolet.jobs

ROOT = Path(__file__).parents[2]
PUBLIC = (
    "zoolet.client",
    "zoolet.client.kazoo",
    "zoolet.client.opentelemetry",
    "zoolet.jobs",
    "zoolet.jobs.telemetry",
    "zoolet.testing",
)
PACKAGES: list[ModuleType] = [import_module(name) for name in PUBLIC]
NAMES = [(package, name) for package in PACKAGES for name in package.__all__]
IMPLEMENTATIONS = {"Config", "MemoryDisk"}
"""Their fields and methods are the server's own; programs name only the classes."""
LATE_NAMES = {
    name: getattr(package, name)
    for package in (zoolet.client, zoolet.jobs)
    for name in package.__all__
}
"""Some modules import names late or only for type checkers, so they do not have all names."""
CODE = re.compile(r"(?:from (zoolet[\w.]*) import|^import (zoolet[\w.]*))", re.MULTILINE)


@pytest.mark.parametrize(("package", "name"), NAMES, ids=lambda value: str(value)[:60])
def test_a_public_name_is_there(package: ModuleType, name: str) -> None:
    assert getattr(package, name) is not None


def test_only_public_packages_list_names_and_no_module_is_marked_otherwise() -> None:
    sources = sorted((ROOT / "src" / "zoolet").rglob("*.py"))
    listing = {
        ".".join(source.relative_to(ROOT / "src").parent.parts)
        for source in sources
        if source.name == "__init__.py" and "__all__ = [" in source.read_text()
    }
    assert listing == set(PUBLIC)
    assert [s for s in sources if s.stem.startswith("_") and not s.stem.startswith("__")] == []


def test_pages_and_examples_import_public_names_only() -> None:
    allowed = {*PUBLIC, "zoolet"}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.py")]
    for page in pages:
        imported = {first or second for first, second in CODE.findall(page.read_text())}
        assert imported <= allowed, page


def annotations_of(kind: type) -> Iterator[Any]:
    """Yield what the public attributes, properties and methods of a class are annotated with."""
    for name, value in inspect.getmembers(kind):
        if name.startswith("_"):
            continue
        function = value.fget if isinstance(value, property) else value
        if inspect.isfunction(function):
            yield from typing.get_type_hints(function, localns=LATE_NAMES).values()
    yield from typing.get_type_hints(kind, localns=LATE_NAMES).values()


def classes_in(annotation: Any) -> Iterator[type]:
    """Yield the classes of this package that an annotation names."""
    if isinstance(annotation, type) and annotation.__module__.startswith("zoolet."):
        yield annotation
    for argument in typing.get_args(annotation):
        parts = argument if isinstance(argument, list) else [argument]
        for part in parts:
            yield from classes_in(part)


@pytest.mark.parametrize("package", PACKAGES, ids=PUBLIC)
def test_types_in_annotations_of_public_names_are_public(package: ModuleType) -> None:
    public = {value for value in (getattr(*named) for named in NAMES) if inspect.isclass(value)}
    needed: dict[str, set[str]] = {}
    for name in set(package.__all__) - IMPLEMENTATIONS:
        value = getattr(package, name)
        hints = annotations_of(value) if inspect.isclass(value) else iter(())
        if inspect.isfunction(value):
            hints = iter(typing.get_type_hints(value).values())
        for annotation in hints:
            for found in classes_in(annotation):
                if found not in public:
                    needed.setdefault(f"{found.__module__}.{found.__name__}", set()).add(name)
    assert needed == {}


def test_there_is_a_page_for_each_public_package() -> None:
    text = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    for name in PUBLIC:
        assert name in text
        assert import_module(name).__doc__
