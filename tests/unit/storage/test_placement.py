"""Files in other directories than zoo.cfg names: refused, and the message says what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.writer import DISK, Writer
from zoolet.archive.commands.data_group import data
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import recover


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A dataDir with snapshots and logs."""
    writer = Writer(tmp_path / "data")
    writer.create("/a")
    writer.snapshot()
    writer.create("/b")
    return tmp_path / "data"


def move(source: Path, target: Path, kind: str) -> None:
    (target / "version-2").mkdir(parents=True, exist_ok=True)
    for path in list((source / "version-2").glob(f"{kind}.*")):
        shutil.move(path, target / "version-2" / path.name)


def start(data_dir: Path, data_log_dir: Path | None = None) -> int:
    directories = DataDirectories.of(data_dir, data_log_dir)
    directories.prepare(DISK)
    return recover(DISK, directories, 100).machine.zxid


def check(data_dir: Path, data_log_dir: Path | None = None) -> tuple[int, str]:
    logs = [] if data_log_dir is None else ["--logs", str(data_log_dir)]
    result = CliRunner().invoke(data, ["check", str(data_dir), *logs])
    return result.exit_code, result.stdout


def swapped(data_dir: Path, logs: Path) -> tuple[Path, Path, str]:
    move(data_dir, logs, "log")
    return logs, data_dir, f"are swapped.*Set dataDir={data_dir} and dataLogDir={logs} in zoo.cfg"


def logs_not_moved(data_dir: Path, logs: Path) -> tuple[Path, Path, str]:
    return data_dir, logs, f"holds logs.*mv {data_dir}/version-2/log.* {logs}/version-2/"


def some_logs_not_moved(data_dir: Path, logs: Path) -> tuple[Path, Path, str]:
    move(data_dir, logs, "log")
    shutil.copy(logs / "version-2" / "log.1", data_dir / "version-2" / "log.1")
    return data_dir, logs, "the dataDir .* holds logs"


def snapshots_not_moved(data_dir: Path, other: Path) -> tuple[Path, Path, str]:
    return other, data_dir, f"holds snapshots.*mv {data_dir}/version-2/snapshot.* {other}"


def everything_in_both(data_dir: Path, logs: Path) -> tuple[Path, Path, str]:
    shutil.copytree(data_dir, logs)
    return data_dir, logs, "holds logs, and the dataLogDir .* holds snapshots"


@pytest.mark.parametrize(
    "mix_up",
    [swapped, logs_not_moved, some_logs_not_moved, snapshots_not_moved, everything_in_both],
)
def test_mixed_directories_are_refused(
    data_dir: Path, tmp_path: Path, mix_up: Callable[[Path, Path], tuple[Path, Path, str]]
) -> None:
    snapshots, logs, message = mix_up(data_dir, tmp_path / "other")
    before = sorted(tmp_path.rglob("*.*"))
    with pytest.raises(StorageError, match=message.replace("*", ".*")):
        start(snapshots, logs)
    assert {*before} <= {*tmp_path.rglob("*.*")}
    status, said = check(snapshots, logs)
    assert status == 1
    assert "A server does not start from these files" in said


@pytest.mark.parametrize("kept", ["snapshot", "log"])
def test_what_the_message_says_helps(data_dir: Path, tmp_path: Path, kept: str) -> None:
    """After the files are moved as the message says, the server starts with everything."""
    expected = start(data_dir)
    other = tmp_path / "other"
    snapshots, logs = (data_dir, other) if kept == "snapshot" else (other, data_dir)
    with pytest.raises(StorageError, match=r"mv "):
        start(snapshots, logs)
    move(data_dir, other, "log" if kept == "snapshot" else "snapshot")
    assert start(snapshots, logs) == expected
    assert check(snapshots, logs)[0] == 0


@pytest.mark.parametrize("begins_at", ["the beginning", "later"])
@pytest.mark.parametrize("is_separate", [False, True])
def test_logs_without_a_snapshot_are_refused(
    data_dir: Path, tmp_path: Path, is_separate: bool, begins_at: str
) -> None:
    """An empty dataDir with the old dataLogDir, or snapshots that were removed."""
    expected = start(data_dir)
    logs = data_dir
    for path in (data_dir / "version-2").glob("snapshot.*"):
        path.unlink()
    if begins_at == "later":
        (data_dir / "version-2" / "log.1").unlink()
    if is_separate:
        data_dir = tmp_path / "empty"
    with pytest.raises(StorageError, match=r"there are logs in .*, but no snapshot in") as refused:
        start(data_dir, logs)
    said = str(refused.value)
    assert check(data_dir, logs)[0] == 1
    if begins_at == "later":
        assert "the txns before it are missing" in said
        return
    command = said[said.index("zoolet data restore") : said.index(", and set dataDir")].split()[2:]
    new = tmp_path / "new"
    restored = CliRunner().invoke(data, [str(new) if it == "NEWDIR" else it for it in command])
    assert restored.exit_code == 0, restored.output
    assert start(new) == expected


@pytest.mark.parametrize("is_log_dir", [False, True])
def test_a_directory_named_with_version_2_is_refused(
    data_dir: Path, tmp_path: Path, is_log_dir: bool
) -> None:
    """It would make another version-2 in it, and start with nothing."""
    named = data_dir / "version-2"
    with pytest.raises(StorageError, match=f"name {data_dir} there, and remove the empty"):
        start(tmp_path / "empty" if is_log_dir else named, named)


@pytest.mark.parametrize("kind", ["snapshot", "log"])
def test_files_beside_version_2_are_refused(data_dir: Path, tmp_path: Path, kind: str) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    for path in (data_dir / "version-2").glob(f"{kind}.*"):
        shutil.copy(path, beside)
    with pytest.raises(StorageError, match=f"they must be in {beside}/version-2: move them"):
        start(beside)


def test_two_names_of_one_directory_are_one(data_dir: Path, tmp_path: Path) -> None:
    expected = start(data_dir)
    link = tmp_path / "link"
    link.symlink_to(data_dir)
    linked_version = tmp_path / "linked"
    linked_version.mkdir()
    (linked_version / "version-2").symlink_to(data_dir / "version-2")
    for name in (link, linked_version, data_dir / ".." / data_dir.name):
        assert start(data_dir, name) == expected
        for lock in DataDirectories.of(data_dir, name).lock(DISK):
            lock.release()
        assert check(data_dir, name)[0] == 0
