"""The state file: rows, intents, and what a kill leaves."""

from pathlib import Path

import pytest

from zoolet.archive.errors import ArchiveError
from zoolet.archive.mirror.records.rows import DIFFERENT, UNKNOWN, Row
from zoolet.archive.mirror.records.state_file import StateFile, digest_of
from zoolet.model.acl import ACL, OPEN_ACL, Id
from zoolet.model.stat import Stat

SOURCE, TARGET = "a:2181/x", "b:2181/y"


def row(czxid: int) -> Row:
    return Row.created(Stat(czxid, czxid, 0, 0, 0, 0, 0, 0, 0, 0, 0))


def opened(path: Path) -> StateFile:
    return StateFile(path, SOURCE, TARGET)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "states" / "state.sqlite"


def test_the_subtree_comes_with_children_before_their_parents(path: Path) -> None:
    state = opened(path)
    for name in ("", "/a", "/a/b", "/a/b/c", "/a/d", "/a0", "/a-b", "/b"):
        state.put(name, row(1))
    listed = [name for name, _ in state.subtree("/a", 10)]
    assert listed[-1] == "/a"
    assert sorted(listed) == ["/a", "/a/b", "/a/b/c", "/a/d"]
    assert listed.index("/a/b/c") < listed.index("/a/b")
    assert [name for name, _ in state.subtree("/a", 3)] == listed[:3]
    assert [name for name, _ in state.subtree("", 100)][-1] == ""
    assert len(state.subtree("", 100)) == len(state) == 8
    assert [name for name, _ in state.subtree("", 7)] == [
        name for name, _ in state.subtree("", 100)
    ][:7]
    assert sorted(state.children("")) == ["a", "a-b", "a0", "b"]
    state.close()


def test_a_second_process_is_refused(path: Path) -> None:
    state = opened(path)
    with pytest.raises(ArchiveError, match="is used by a mirror that runs"):
        opened(path)
    state.close()
    opened(path).close()


def test_the_file_of_another_mirror_is_refused(path: Path) -> None:
    opened(path).close()
    with pytest.raises(ArchiveError, match="belongs to the mirror from a:2181/x to b:2181/y"):
        StateFile(path, SOURCE, "c:2181/y")


def test_another_file_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(ArchiveError, match="delete it, or name another one"):
        opened(path)


def test_a_directory_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ArchiveError, match="cannot be used"):
        opened(path)


def test_intents_survive_a_kill_and_become_rows(path: Path) -> None:
    state = opened(path)
    state.put("", row(1).applied(5))
    state.put("/old", row(2).applied(5))
    state.begin([("/new", row(3)), ("/old", None)])
    state.put("/lost", row(4))
    state.close()  # without a commit, as a kill does

    state = opened(path)
    assert state.row("/lost") is None
    assert state.has_intents()
    state.apply(9)
    assert (state.number, state.has_intents()) == (1, False)
    assert state.row("/new") == row(3)._replace(copy_czxid=9, copy_mzxid=9)
    assert state.row("/old") is None
    parent = state.row("")
    assert parent is not None
    assert parent.counter == 1
    state.commit()
    state.close()

    state = opened(path)
    assert state.number == 1
    assert state.row("/old") is None
    state.close()


def test_intents_of_acls(path: Path) -> None:
    state = opened(path)
    state.put("/a", row(1).applied(5))
    state.begin_acls([("/a", OPEN_ACL, 7)])
    assert state.acl_intents() == [("/a", 7, digest_of(OPEN_ACL))]
    state.end_acl("/a", (7, 1))
    found = state.row("/a")
    assert found is not None
    assert (found.aversion, found.copy_aversion) == (7, 1)
    assert state.acl_intents() == []
    state.close()


def test_low_counters(path: Path) -> None:
    state = opened(path)
    state.put("/a", row(1).applied(5))
    state.put("/b", row(1).applied(5))
    state.want_counter("/a", 5)
    state.want_counter("/a", 4)
    assert state.low_counters(10) == [("/a", 5)]
    state.put_counter("/a", 5)
    assert state.low_counters(10) == []
    state.close()


def test_all_is_forgotten_for_another_target(path: Path) -> None:
    state = opened(path)
    state.put("/a", row(1))
    state.note_complete()
    state.begin([("/b", row(2))])
    state.forget_all(12)
    assert (len(state), state.number, state.has_intents(), state.is_complete) == (
        0,
        12,
        False,
        False,
    )
    state.close()


def test_the_digest_of_an_acl_does_not_depend_on_its_order() -> None:
    one, other = ACL(1, Id("world", "anyone")), ACL(31, Id("digest", "a:b"))
    assert digest_of((one, other)) == digest_of((other, one))
    assert digest_of((one,)) != digest_of((other,))


def test_the_zxid_of_the_source_is_kept(path: Path) -> None:
    state = opened(path)
    assert state.source_zxid == 0
    state.put_source_zxid(7)
    state.put_source_zxid(5)
    state.forget_all(0)
    state.close()
    again = opened(path)
    assert again.source_zxid == 5
    again.close()


def test_the_oldest_znodes_are_those_with_the_lowest_known_czxids(path: Path) -> None:
    state = opened(path)
    for czxid, name in enumerate(("", "/b", "/a/c", "/a"), 1):
        state.put(name, row(czxid))
    for name in ("/0", "/1"):
        state.put(name, row(UNKNOWN if name == "/0" else DIFFERENT))
    assert [name for name, _ in state.oldest(9)] == ["/b", "/a/c", "/a"]
    assert [name for name, _ in state.oldest(2)] == ["/b", "/a/c"]
    state.close()
