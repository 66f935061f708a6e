"""Functions by name: found, or a message that says why not."""

import json
import os.path
import sys
from pathlib import Path

import pytest

from zoolet.jobs.errors import FunctionNotFoundError
from zoolet.jobs.execution.functions import LOADERS, TASKS, load_function


def test_finds_a_function_and_a_method() -> None:
    assert load_function("json:dumps", TASKS) is json.dumps
    assert load_function("os:path.join", LOADERS) is os.path.join


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no_such_module:f", "task 'no_such_module:f' cannot be imported: ModuleNotFoundError"),
        ("json:no_such", "cannot be imported: module 'json' has no attribute 'no_such'"),
        ("json:__doc__", "of type str, which cannot be called"),
        (":f", "cannot be imported: ValueError"),
        ("json:", "has no attribute ''"),
        ("no-such-entry-point", "neither of the form module:function nor an entry point"),
    ],
)
def test_says_why_there_is_none(name: str, complaint: str) -> None:
    with pytest.raises(FunctionNotFoundError, match=complaint):
        load_function(name, TASKS)


@pytest.mark.parametrize("code", ["raise RuntimeError('broken')", "raise SystemExit(3)", "1 +"])
def test_a_module_that_cannot_be_imported_is_no_more_than_an_error(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tasks.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FunctionNotFoundError, match=r"broken_tasks:f.*cannot be imported"):
        load_function("broken_tasks:f", TASKS)


def test_finds_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_tasks-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: some-tasks\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[zoolet.tasks]\ndump = json:dumps\nlost = json:lost\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_function("dump", TASKS) is json.dumps
    with pytest.raises(FunctionNotFoundError, match=r"lost.*json:lost.*cannot be imported"):
        load_function("lost", TASKS)
    with pytest.raises(FunctionNotFoundError, match="loader 'dump' is neither"):
        load_function("dump", LOADERS)


@pytest.mark.parametrize(
    "before", [None, "x = 1\n", "raise RuntimeError('half')\n", "import late_helper\n1 / 0\n"]
)
def test_a_failed_import_is_not_remembered(
    before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("late_module", "late_helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "late_helper.py").write_text("VALUE = 'old'\n")
    file = tmp_path / "late_module.py"
    if before is not None:
        file.write_text(before)
    for _ in range(2):
        with pytest.raises(FunctionNotFoundError, match="late_module"):
            load_function("late_module:task", TASKS)
    (tmp_path / "late_helper.py").write_text("VALUE = 'the newer one'\n")
    file.write_text("import late_helper\ndef task():\n    return late_helper.VALUE\n")
    assert load_function("late_module:task", TASKS)() == "the newer one"


def test_a_module_that_lacks_a_function_keeps_what_was_loaded_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kept_module", raising=False)
    (tmp_path / "kept_module.py").write_text("def one():\n    return 1\n")
    one = load_function("kept_module:one", TASKS)
    module = sys.modules["kept_module"]
    with pytest.raises(FunctionNotFoundError, match="no attribute 'two'"):
        load_function("kept_module:two", TASKS)
    (tmp_path / "kept_module.py").write_text("raise ValueError('half a file')\n")
    with pytest.raises(FunctionNotFoundError, match="no attribute 'two'"):
        load_function("kept_module:two", TASKS)
    assert sys.modules["kept_module"] is not None
    assert one() == 1
    assert callable(module.one)
    before = sys.modules["json"]
    with pytest.raises(FunctionNotFoundError, match="no attribute"):
        load_function("json:two", TASKS)
    assert sys.modules["json"] is before
