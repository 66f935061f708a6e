"""The functions that setup.py puts together: how they are found, and that they still exist."""

import importlib.util
from pathlib import Path

import pytest

from release.start_functions import LIST, executed

COUNTS = """\
version: 1
fl=(1) /python.c
ob=(1) /lib/libpython3.so
fn=(1) _PyEval_EvalFrame
16 2
cob=(2) /src/zoolet__mypyc.so
cfn=(2) CPyDef_tree___Tree___put
calls=1 0
fn=(3) PyObject_Call
16 2
ob=(2)
fn=(2)
16 4
cfn=(4) CPyDef_tree___never_first
fn=(5) CPyDef_jute___read.isra.0
16 4
fn=(6) CPyDef_tree___walk'2
16 4
"""


def test_functions_of_the_compiled_code_are_found() -> None:
    assert list(executed(COUNTS)) == [
        "CPyDef_tree___Tree___put",
        "CPyDef_jute___read",
        "CPyDef_tree___walk",
    ]


def names() -> list[str]:
    return [line for line in LIST.read_text().splitlines() if not line.startswith("#")]


def test_the_list_is_sorted_and_not_empty() -> None:
    assert names() == sorted(set(names()))
    assert len(names()) > 100


def test_nearly_all_functions_still_exist() -> None:
    """If this fails, run ``python -m release.start_functions``."""
    spec = importlib.util.find_spec("zoolet__mypyc")
    if spec is None or spec.origin is None:
        pytest.skip("needs the compiled modules")
    library = Path(spec.origin).read_bytes()
    if b"\0CPyDef_" not in library:
        pytest.skip("needs the names in the compiled library, which is stripped")
    missing = [
        name
        for name in names()
        if not any(f"\0{name}{end}".encode() in library for end in ("\0", "."))
    ]
    assert len(missing) < len(names()) / 10, missing
