"""``zoolet ensemble check``: what is wrong with the copies before the first start."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.stopped_server import MEMBERS, run, stopped_server


@pytest.fixture
def members(tmp_path: Path) -> Path:
    """The directories of three members, as ``create`` makes them."""
    stopped = stopped_server(tmp_path / "my server")
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 0, result.output
    return tmp_path / "new"


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def remove_newest(home: Path) -> None:
    """Remove the newest log and the newest snapshot."""
    for kind in ("log", "snapshot"):
        found = home.glob(f"data/version-2/{kind}.*")
        max(found, key=lambda path: int(path.suffix[1:], 16)).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda home: (home / "data" / "myid").unlink(), "myid is missing"),
        (lambda home: (home / "data" / "myid").write_text("1\n"), "have the number 1 in myid"),
        (lambda home: (home / "data" / "myid").write_text("0\n"), "must be from 1 to 254"),
        (lambda home: (home / "data" / "myid").write_text("9\n"), "has no line server.9"),
        (
            lambda home: (home / "data/version-2/currentEpoch").unlink(),
            "it was not made by zoolet ensemble create",
        ),
        (
            lambda home: (home / "data/version-2/acceptedEpoch").write_text("4"),
            "the epochs are (4, 0), but (0, 0) in member 1",
        ),
        (lambda home: shutil.rmtree(home / "data/version-2"), "version-2 does not exist"),
        (
            lambda home: [path.unlink() for path in home.glob("data/version-2/[ls]*")],
            "there is no snapshot",
        ),
        (remove_newest, "the zxid is"),
        (remove_newest, "): ~ /a"),
        (
            lambda home: replace(home / "zoo.cfg", "zk3:2888", "zk9:2888"),
            "the server.N lines are not those of member 1",
        ),
        (
            lambda home: (home / "data/version-2/ensemble.json").write_text("{}"),
            "this is the old directory of the server",
        ),
    ],
)
def test_a_fault_is_found(members: Path, change: Callable[[Path], object], message: str) -> None:
    change(members / "2")
    result = run("check", *sorted(members.iterdir()))
    assert result.exit_code == 1
    wrong = [line for line in result.output.splitlines() if line.startswith("WRONG")]
    assert any(message.replace("): ", ": ") in line.replace("): ", ": ") for line in wrong), wrong


def test_members_that_are_not_named_are_noted(members: Path) -> None:
    result = run("check", members / "1", members / "3")
    assert result.exit_code == 0
    assert "member 2 was not named, and was not compared" in result.output
    assert run("check", members / "1").exit_code == 1


def test_any_flipped_byte_is_found(members: Path) -> None:
    """The class of faults: a copy that differs in one byte, or is shorter."""
    chance = random.Random(5)
    files = sorted(path for path in (members / "2" / "data").rglob("*") if path.is_file())
    for number in range(40):
        path = chance.choice(files)
        content = bytearray(path.read_bytes())
        at = chance.randrange(len(content))
        if content[at : at + 1] == b"\n":
            continue
        changed = content[:at] if chance.random() < 0.3 else bytearray(content)
        if len(changed) > at:
            changed[at] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        result = run("check", *sorted(members.iterdir()))
        assert result.exit_code == 1 or _is_unneeded(path), (number, path, at, result.output)
        path.write_bytes(content)
    assert run("check", *sorted(members.iterdir())).exit_code == 0


def _is_unneeded(path: Path) -> bool:
    """Return whether a server starts with the same state although the file is damaged."""
    newest = max(path.parent.glob("snapshot.*"), key=lambda found: int(found.name[9:], 16))
    zxid = int(newest.name[9:], 16)
    return path.name.startswith(("snapshot.", "log.")) and int(path.name.split(".")[1], 16) <= zxid
