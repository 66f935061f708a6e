"""The source of a job: what an executor loads, and what it refuses."""

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tests.fuzz.queue_values import any_value
from zoolet.jobs.errors import DatasetChangedError, DatasetError, InvalidJobError, JobError
from zoolet.jobs.execution.user_loaders import UserLoaders
from zoolet.jobs.loaders.loading import load_source, make_source
from zoolet.jobs.loaders.registry import LOADERS, checked_options, import_loader
from zoolet.jobs.records.allow_lists import AllowLists

FIND = UserLoaders(AllowLists()).find


def sources(
    loader: str, location: object, columns: Any = None, **options: Any
) -> list[dict[str, Any]]:
    """Return the sources of all groups of a location, as they are after their way as JSON."""
    checked = checked_options(loader, options)
    groups = import_loader(loader, FIND).list_groups(str(location), checked, ())
    return [json.loads(json.dumps(make_source(loader, checked, g, columns))) for g in groups]


def load(source: dict[str, Any]) -> Any:
    return load_source("d", "g", source, FIND)


def write_parquet(path: Path, rows: int = 10) -> None:
    table = pa.table({"x": range(rows), "y": [n / 2 for n in range(rows)], "z": ["t"] * rows})
    pq.write_table(table, path, row_group_size=4)


def test_a_row_group_of_a_parquet_file_is_a_table(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet")
    found = [load(source) for source in sources("parquet", tmp_path, ["y", "x"])]
    assert [table.column_names for table in found] == [["y", "x"]] * 3
    assert pa.concat_tables(found).column("x").to_pylist() == list(range(10))
    with pytest.raises(DatasetError, match="no column 'q'; its columns are x, y, z"):
        load(sources("parquet", tmp_path, ["q"])[0])


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("text")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        sources("parquet", tmp_path)


def test_a_range_of_entries_of_a_root_file_is_a_dict_of_arrays(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["events"] = {"x": np.arange(10), "y": np.arange(10) / 2}
    found = sources("root", tmp_path, ["x"], tree="events", entries_per_group=4)
    groups = [load(source) for source in found]
    assert [list(group) for group in groups] == [["x"]] * 3
    assert [list(group["x"]) for group in groups] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    with pytest.raises(DatasetError, match="the tree nothing of"):
        sources("root", tmp_path, tree="nothing")


def test_a_file_of_a_directory_is_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"1")
    assert [load(source) for source in sources("files", tmp_path)] == [tmp_path / "a.bin"]


@pytest.mark.parametrize("seed", range(15))
def test_each_row_of_a_table_is_in_one_range(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    keys: list[Any] = [chance.randrange(30) for _ in range(chance.randrange(40))]
    kind = chance.choice(("integer", "text"))
    if kind == "text":
        keys = [f"k{key}" for key in keys]
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute(f"create table t (k {kind}, v integer)")
        database.executemany("insert into t values (?, ?)", [(k, n) for n, k in enumerate(keys)])
    database.close()
    url, per_group = f"sqlite:///{tmp_path}/db", chance.randint(1, 12)
    found = sources("sql", url, ["v"], table="t", key="k", rows_per_group=per_group)
    rows = [row for source in found for row in load(source)]
    assert sorted(row["v"] for row in rows) == list(range(len(keys)))
    assert all(list(row) == ["v"] for row in rows)


def test_a_changed_row_changes_the_version_of_its_range(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute("create table t (k integer, changed integer)")
        database.executemany("insert into t values (?, 1)", [(n,) for n in range(6)])
    options: dict[str, Any] = {
        "table": "t",
        "key": "k",
        "rows_per_group": 2,
        "version_column": "changed",
    }
    before = sources("sql", f"sqlite:///{tmp_path}/db", **options)
    with database:
        database.execute("update t set changed = 2 where k = 3")
        database.execute("insert into t values (6, 1)")
    database.close()
    after = sources("sql", f"sqlite:///{tmp_path}/db", **options)
    assert [old["version"] == new["version"] for old, new in zip(before, after, strict=False)] == [
        True,
        False,
        False,
    ]
    assert len(load(before[2])) == 2, "the old last range does not have the new row"


def test_a_key_with_null_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute("create table t (k integer)")
        database.execute("insert into t values (null)")
    database.close()
    with pytest.raises(DatasetError, match="is NULL in some rows"):
        sources("sql", f"sqlite:///{tmp_path}/db", table="t", key="k")


def test_a_changed_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet")
    found = sources("parquet", tmp_path)
    write_parquet(tmp_path / "a.parquet", rows=3)
    for source in found:
        with pytest.raises(DatasetChangedError, match="refresh the dataset"):
            load(source)


@pytest.mark.parametrize("seed", range(200))
def test_a_random_source_is_loaded_or_refused_with_a_message(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n')
    write_parquet(tmp_path / "a.parquet")
    source = sources(chance.choice(("csv", "jsonl", "parquet", "files")), tmp_path)[0]
    place = chance.choice((source, source["position"], source["options"]))
    for _ in range(chance.randint(1, 2)):
        place[chance.choice([*place, "more"])] = any_value(chance)
    try:
        load(source)
    except JobError as error:
        assert str(error)  # noqa: PT017 -- any of these sources may also be good


def test_the_options_are_checked() -> None:
    with pytest.raises(InvalidJobError, match="no option 'x'; its options are version, pattern"):
        checked_options("parquet", {"x": 1})
    with pytest.raises(InvalidJobError, match="needs the option tree"):
        checked_options("root", {})
    with pytest.raises(InvalidJobError, match="not one of stat, content"):
        checked_options("files", {"version": "other"})
    with pytest.raises(InvalidJobError, match="the size of a group, in bytes"):
        checked_options("csv", {"bytes_per_group": "1"})
    with pytest.raises(InvalidJobError, match="there is no loader 'xml'"):
        checked_options("xml", {})


@pytest.mark.parametrize("name", ["parquet", "root", "sql"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoolet.jobs.loaders.registry.missing", lambda _: "missing")
    with pytest.raises(DatasetError, match=f"the loader {name} cannot be used: .* pip install"):
        import_loader(name, FIND)
    assert LOADERS[name].package is not None
