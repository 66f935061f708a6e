"""``zoolet data history``, ``diff`` and ``restore``, on data directories and archives."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.archives import ArchiveMaker
from tests.support.writer import Writer
from zoolet.archive.commands.data_group import data
from zoolet.archive.store.keys import create_key_file
from zoolet.data import new_directory
from zoolet.data.directory_reader import directories_of, state_of, txns_in
from zoolet.model import requests
from zoolet.model.acl import ACL, OPEN_ACL, Id
from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.recovery import AsOf

OWN_ACL = (ACL(31, Id("digest", "a:b")),)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def lines_of(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """A data directory with a tree of all kinds of znodes and a used sequence counter."""
    made = Writer(tmp_path / "made")
    made.create("/a", "/a/b", "/a/b/c", "/a/other", "/z")
    for _ in range(2):
        made.create("/a/b/s-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
    made.change(OpCode.DELETE, requests.Delete("/a/b/s-0000000002", -1))
    box = requests.Create("/a/b/box", b"", OPEN_ACL, CreateMode.CONTAINER, OwnerKind.CONTAINER)
    made.change(OpCode.CREATE_CONTAINER, box)
    made.create("/a/b/e", mode=CreateMode.EPHEMERAL)
    made.change(OpCode.SET_ACL, requests.SetAcl("/a", OWN_ACL, -1))
    made.create("/zookeeper/quota/a", "/zookeeper/quota/a/b", "/zookeeper/quota/z")
    return made


def home(writer: Writer) -> Path:
    return writer.directories.snapshots.parent


def restored(directory: Path) -> StateMachine:
    return state_of(directories_of(directory)).machine


def test_a_subtree_is_restored_with_its_ancestors_and_counters(
    writer: Writer, tmp_path: Path
) -> None:
    zxid = writer.machine.zxid
    writer.change(OpCode.DELETE, requests.Delete("/a/b/c", -1))
    result = run(
        "restore",
        home(writer),
        "--as-of",
        f"0x{zxid:x}",
        "--to",
        tmp_path / "new",
        "--path",
        "/a/b",
    )
    assert result.exit_code == 0, result.output
    tree, made = restored(tmp_path / "new").tree, writer.machine.tree
    assert [path for path in tree.walk() if not path.startswith("/zookeeper/config")] == [
        "/",
        "/zookeeper",
        "/zookeeper/quota",
        "/zookeeper/quota/a",
        "/zookeeper/quota/a/b",
        "/a",
        "/a/b",
        "/a/b/c",
        "/a/b/s-0000000001",
        "/a/b/box",
        "/a/b/e",
    ]
    assert tree.acl_of("/a") == OWN_ACL
    assert tree.created_under("/a/b") == made.created_under("/a/b") == 5
    assert tree.created_under("/a") == 2
    assert dict(tree.perishable.items()) == dict(made.perishable.items())
    assert tree.ephemerals == made.ephemerals
    below = tree.find("/a/b/box")
    assert below is not None
    assert below.stat == getattr(made.find("/a/b/box"), "stat", None)


def test_the_state_before_a_txn(writer: Writer, tmp_path: Path) -> None:
    end = writer.machine.zxid
    writer.time_ms += 1
    writer.change(OpCode.DELETE, requests.Delete("/z", -1))
    for number, before in enumerate((f"0x{end + 1:x}", "1970-01-01T00:00:00.100Z")):
        new = tmp_path / str(number)
        result = run("restore", home(writer), "--before", before, "--to", new)
        assert f"as of zxid 0x{end:x}" in result.stdout


def test_a_subtree_of_the_root_is_everything(writer: Writer, tmp_path: Path) -> None:
    assert run("restore", home(writer), "--as-of", "0xff", "--to", tmp_path / "new").exit_code == 0
    assert run("diff", home(writer), tmp_path / "new").exit_code == 0


def test_a_path_that_the_state_does_not_have_is_refused(writer: Writer, tmp_path: Path) -> None:
    result = run(
        "restore", home(writer), "--as-of", "0xff", "--to", tmp_path / "new", "--path", "/none"
    )
    assert result.exit_code == 1
    assert "has no znode /none. See its history: zoolet data history" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give either --to NEWDIR or --to-server"),
        (("--before", "0x1", "--to", "x"), "Give either --as-of or --before"),
        (("--to", "x", "--to-server", "h:1"), "Give either --to NEWDIR or --to-server"),
        (("--to-server", "h:1/chroot"), "leave out /chroot: use --path"),
        (("--to-server", "h:x"), "--to-server"),
        (("--to-server", "h:1", "--path", "/zookeeper/quota"), "/zookeeper is not restored"),
        (("--to-server", "h:1", "--tls-cert", "x"), "--tls-cert and --tls-key need --tls-ca"),
    ],
)
def test_wrong_usage_is_said(writer: Writer, arguments: tuple[str, ...], said: str) -> None:
    result = run("restore", home(writer), "--as-of", "0x1", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_history_of_a_subtree_between_two_moments(writer: Writer) -> None:
    changes = lines_of(run("history", home(writer), "/a/b", "--recursive"))
    assert [change["path"] for change in changes] == [
        "/a/b",
        "/a/b/c",
        "/a/b/s-0000000001",
        "/a/b/s-0000000002",
        "/a/b/s-0000000002",
        "/a/b/box",
        "/a/b/e",
    ]
    zxids = [change["zxid"] for change in changes]
    part = run(
        "history", home(writer), "/a/b", "--recursive", "--since", zxids[2], "--until", zxids[3]
    )
    assert [change["path"][-1] for change in lines_of(part)] == ["1", "2"]
    writer.change(OpCode.CLOSE_SESSION, requests.CloseSession())
    last = lines_of(run("history", home(writer), "/a/b", "--recursive"))[-1]
    assert (last["path"], last["type"]) == ("/a/b/e", "Delete")


def test_history_of_the_root(writer: Writer) -> None:
    writer.change(OpCode.SET_DATA, requests.SetData("/", b"new", -1))
    assert [change["data"] for change in lines_of(run("history", home(writer), "/"))] == ["new"]
    assert len(lines_of(run("history", home(writer), "/", "--recursive"))) == 15


def test_diff_of_two_moments_of_one_directory(writer: Writer) -> None:
    middle, end = writer.machine.zxid - 1, writer.machine.zxid
    result = run(
        "diff", home(writer), home(writer), "--as-of", f"0x{middle:x}", "--as-of", f"0x{end:x}"
    )
    assert result.exit_code == 1
    assert "+ /zookeeper/quota/z" in result.stdout
    assert run("diff", home(writer), home(writer), "--as-of", f"0x{end:x}").exit_code == 0
    assert run("diff", home(writer), home(writer), *["--as-of", "0x1"] * 3).exit_code == 2
    snapshot = writer.snapshot()
    result = run("diff", snapshot, snapshot, "--as-of", "0x1")
    assert result.exit_code == 2
    assert "--as-of needs the txns after it" in result.stderr


def archive_of(writer: Writer, folder: Path, *arguments: Any) -> ArchiveMaker:
    """Return an archive of all logs of a directory."""
    start = state_of(writer.directories, AsOf(zxid=1)).machine
    maker = ArchiveMaker(folder, *arguments)
    maker.begin(start, 98)
    maker.segment([each.txn for each in txns_in(writer.directories) if each.txn.header.zxid > 1])
    return maker


def test_an_archive_is_read_like_the_directory(writer: Writer, tmp_path: Path) -> None:
    """With a key file, and with a path or a URL."""
    key_file = tmp_path / "key"
    archive_of(writer, tmp_path / "archive", create_key_file(key_file))
    key = ("--key-file", key_file)
    for source in (tmp_path / "archive", f"file://{tmp_path / 'archive'}"):
        assert run("diff", home(writer), source, *key).exit_code == 0
        ours = run("history", home(writer), "/a", "--recursive", "--since", "0x2")
        assert lines_of(run("history", source, "/a", "--recursive", *key)) == lines_of(ours)
    new = tmp_path / "new"
    result = run("restore", tmp_path / "archive", "--as-of", "0x4", "--to", new, *key)
    assert "znodes as of zxid 0x4" in result.stdout
    assert run("diff", home(writer), new, "--as-of", "0x4").exit_code == 0
    result = run("diff", home(writer), tmp_path / "archive")
    assert result.exit_code == 1
    assert "Give the file of this key: --key-file" in result.stderr


def test_the_history_of_an_archive_shows_missing_txns(writer: Writer, tmp_path: Path) -> None:
    maker = archive_of(writer, tmp_path / "archive")
    end = writer.machine.zxid
    writer.create("/missed")
    maker.begin(writer.machine, 200)
    shown = lines_of(run("history", tmp_path / "archive", "/none"))
    assert shown == [
        {
            "type": "missing_txns",
            "reason": "start",
            "after": f"0x{end:x}",
            "after_time": "1970-01-01T00:00:00.099+00:00",
            "before": f"0x{end + 1:x}",
            "before_time": "1970-01-01T00:00:00.200+00:00",
        }
    ]


def test_other_commands_and_directories_need_no_library_of_archives(writer: Writer) -> None:
    program = f"""
import sys
from zoolet.archive.commands.data_group import data
data(["history", {str(home(writer))!r}, "/a"], standalone_mode=False)
data(["restore", "--help"], standalone_mode=False)
print([name for name in ("zstandard", "fsspec", "asyncio") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_place_without_an_archive_is_said(tmp_path: Path) -> None:
    result = run("history", f"file://{tmp_path}", "/a")
    assert result.exit_code == 1
    assert "is not an archive" in result.stderr


def test_options_of_a_restore_into_a_server_need_a_server(writer: Writer, tmp_path: Path) -> None:
    new = tmp_path / "new"
    for option in (["--dry-run"], ["--yes"], ["--json"], ["--most-lines", "3"], ["--auth", "x:y"]):
        result = run("restore", home(writer), "--as-of", "0x2", "--to", new, *option)
        assert result.exit_code == 2
        assert f"{option[0]} needs --to-server." in result.output
    assert not new.exists()


def test_a_moment_before_the_first_txn_is_not_written_to_a_server(writer: Writer) -> None:
    for moment in ("--as-of", "0x0"), ("--before", "0x1"), ("--as-of", "1969-12-31T00:00:00Z"):
        result = run("restore", home(writer), *moment, "--to-server", "127.0.0.1:1", "--yes")
        assert result.exit_code == 1
        assert "there is no txn at or before this moment" in result.output


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_unfinished_restore_leaves_no_data_directory(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """A server would start there without data."""
    new = tmp_path / "new"

    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as changed:
        changed.setattr(new_directory, "write_snapshot", fail)
        result = run("restore", home(writer), "--as-of", "0x5", "--to", new)
    assert result.exit_code == 1
    assert list(new.iterdir()) == []
    (new / "unfinished.1").mkdir()  # of a command that was killed
    assert run("restore", home(writer), "--as-of", "0x5", "--to", new).exit_code == 0
    assert [each.name for each in new.iterdir()] == ["version-2"]
    assert restored(new).zxid == 5


def test_a_zxid_after_the_newest_one_is_noted(writer: Writer, tmp_path: Path) -> None:
    end = writer.machine.zxid
    for zxid, is_noted in ((end, False), (end + 1, True)):
        result = run("restore", home(writer), "--as-of", hex(zxid), "--to", tmp_path / hex(zxid))
        assert result.exit_code == 0
        assert (f"is after the newest txn 0x{end:x}" in result.stderr) is is_noted


def test_diff_as_json_has_both_states_of_a_subtree(writer: Writer) -> None:
    before = f"0x{writer.machine.zxid:x}"
    writer.change(OpCode.SET_DATA, requests.SetData("/a/b/c", b"\xff", -1))
    writer.create("/a/b/new", "/z/new")
    directory = home(writer)
    result = run("diff", directory, directory, "--as-of", before, "--json", "--path", "/a/b")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["sign"], line["path"]) for line in lines] == [
        ("=", "/a"),
        ("=", "/"),
        ("~", "/a/b"),
        ("=", "/a/b"),
        ("~", "/a/b/c"),
        ("+", "/a/b/new"),
    ]
    assert lines[0]["before"] == {"acl": [{"perms": 31, "scheme": "digest", "id": "a:b"}]}
    assert lines[4]["after"]["data_base64"] == "/w=="
    assert lines[4]["after"]["stat"]["version"] == lines[4]["before"]["stat"]["version"] + 1
    assert lines[5]["before"] is None
    assert run("diff", directory, directory, "--path", "b").exit_code != 0
